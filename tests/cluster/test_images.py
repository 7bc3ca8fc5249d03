"""Two executors with different root file systems: tasks go where they can run."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.cluster.harness import PEX, Khala, running, wait_until
from tests.sandbox.rootfs import make_root, make_squashfs


def post(khala: Khala, image: str, command: str) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"image": image, "stages": {"execute": {"command": command}}}).encode()
    request = urllib.request.Request(
        f"{khala.url}/api/v2/tasks", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=40) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def start_executor(khala: Khala, folder: Path, image: str) -> subprocess.Popen[bytes]:
    argv = [
        *(str(PEX), "executor", "--name", "second", "--data-dir", str(folder), "--slots", "2"),
        *("--join", f"127.0.0.1:{khala.ports['rpc']}", "--image", image),
        *("--secret-file", str(khala.data_dir / "secret"), "--task-uid-base", "1900200000"),
    ]
    with open(khala.log, "ab") as log:
        return subprocess.Popen(argv, stderr=log)


def test_tasks_go_where_their_image_is(tmp_path: Path) -> None:
    tree = make_root(tmp_path / "tree", "a folder")
    file = make_squashfs(make_root(tmp_path / "packed", "a file"), tmp_path / "packed.squashfs")
    options = ("--name", "first", "--image", f"folder={tree}")
    with running(tmp_path / "data", options=options) as khala:
        status, problem = post(khala, "file", "release")
        assert (status, problem["code"], problem["field"]) == (422, "no_such_image", "image")
        assert "known are folder" in problem["detail"]
        second = start_executor(khala, tmp_path / "second", f"file={file}")
        try:
            wait_until(lambda: images(khala) == {"file": True, "folder": True}, 60, "both images")
            ids = {
                image: [post(khala, image, "release")[1]["id"] for _ in range(4)]
                for image in ("file", "folder")
            }
            for image, (says, where) in {
                "file": ("a file\n", "second"),
                "folder": ("a folder\n", "first"),
            }.items():
                for task in ids[image]:
                    khala.wait_done(task)
                    view = khala.explain(task)
                    assert view["stages"]["execute"]["result"]["stdout"]["text"] == says
                    assert (view["executor"], view["pending"]) == (where, None)
        finally:
            second.send_signal(signal.SIGTERM)
            second.wait(30)
        _check_waiting(khala, tmp_path, f"file={file}")


def _check_waiting(khala: Khala, tmp_path: Path, image: str) -> None:
    """What waits for the executor that is away holds up nothing, and runs when it is back."""
    wait_until(lambda: not images(khala)["file"], 60, "the second executor is lost")
    status, waiting = post(khala, "file", "release")
    assert status == 201
    # Several, so that some of them meet a queue.
    for task in [post(khala, "folder", "release")[1]["id"] for _ in range(6)]:
        khala.wait_done(task)
    pending = khala.explain(waiting["id"])["pending"]
    assert pending["code"] == "no_image"
    assert pending["detail"] == (
        "waiting for image file: no online executor has it (images online: folder)"
    )
    second = start_executor(khala, tmp_path / "second", image)
    try:
        khala.wait_done(waiting["id"])
        assert khala.explain(waiting["id"])["executor"] == "second"
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(30)


def images(khala: Khala) -> dict[str, bool]:
    """Whether each image is online."""
    status, answer = khala.call("GET", "/api/v2/images")
    assert status == 200, answer
    return {image["name"]: image["online"] for image in answer["images"]}
