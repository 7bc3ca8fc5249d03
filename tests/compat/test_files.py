"""Files that tasks leave, and compilations that are not run twice, on the whole stack."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
import urllib.error
import urllib.request
import zipfile
from typing import Any

import pytest

from tests.compat.kv2_client import Kv2Client


def run(stack: str, document: dict[str, Any], wait: str = "?wait=60s") -> dict[str, Any]:
    request = urllib.request.Request(
        f"{stack}/api/v2/tasks{wait}",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        task: dict[str, Any] = json.loads(response.read())
    return task


def get(url: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def task_of(execute: str, *collect: str, compile_command: str = "true") -> dict[str, Any]:
    return {
        "stages": {"compile": {"command": compile_command}, "execute": {"command": execute}},
        "artifacts": {"collect": list(collect), "max_total": "16MiB", "max_files": 10},
    }


def test_what_a_task_leaves_can_be_had_in_every_way(stack: str) -> None:
    command = r"""
        mkdir -p out/deep; head -c 3500000 /dev/urandom | tee out/large | md5sum
        printf small > $'out/deep/two\nlines'; ln -s /etc/passwd out/link
        echo other > other; echo log > a.log; chmod +x a.log
    """
    task = run(stack, task_of(command, "out/**", "*.log"))
    assert task["state"] == "succeeded"
    md5 = task["stages"]["execute"]["result"]["stdout"]["text"].split()[0]
    base = f"{stack}/api/v2/tasks/{task['id']}/artifacts"
    status, body = get(base)
    listed = json.loads(body)
    assert [file["name"] for file in listed["files"]] == [
        *("a.log", "out/deep/two\nlines", "out/large")
    ]
    assert listed["left_out"] == [{"reason": "not_a_file", "count": 1, "names": ["out/link"]}]
    assert task["artifacts"] == {
        "files": 3,
        "size": 3_500_009,
        "left_out": listed["left_out"],
    }
    assert get(stack + listed["files"][1]["href"]) == (200, b"small")
    status, large = get(f"{base}/out/large")
    assert hashlib.md5(large).hexdigest() == md5
    assert hashlib.sha256(large).hexdigest() == listed["files"][2]["sha256"]
    # The stored chunks have 1 MiB, and the file does not begin with one.
    for first, last in ((0, 0), (1_048_560, 1_048_580), (1_000_000, 3_400_000), (3_499_999, None)):
        asked = f"bytes={first}-{'' if last is None else last}"
        status, part = get(f"{base}/out/large", Range=asked)
        assert (status, part) == (206, large[first : None if last is None else last + 1])
    status, data = get(f"{base}.zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.log", "out/deep/two%0Alines", "out/large"]
        assert archive.read("out/large") == large
        assert archive.infolist()[0].external_attr >> 16 & 0o111
    assert get(f"{base}/other")[0] == 404
    assert get(f"{base}/..%2F..%2Fetc%2Fpasswd")[0] == 404


@pytest.mark.parametrize(
    ("compile_command", "execute", "left"),
    [
        ("echo 1 > a; exit 1", "echo 2 > b", ["a"]),
        ("echo 1 > a", "echo 2 > b; kill -9 $$", ["a", "b"]),
        ("true", "true", []),
    ],
)
def test_a_task_that_failed_leaves_its_files_too(
    stack: str, compile_command: str, execute: str, left: list[str]
) -> None:
    task = run(stack, task_of(execute, "[ab]", compile_command=compile_command))
    _, body = get(f"{stack}/api/v2/tasks/{task['id']}/artifacts")
    assert [file["name"] for file in json.loads(body)["files"]] == left


def test_a_cancelled_task_leaves_none(stack: str, kv2: Kv2Client) -> None:
    task = run(stack, task_of("echo 1 > a; sleep 60", "*"), wait="")
    kv2.wait_status(task["id"], 3)
    assert kv2.call("DELETE", f"/api/task?id={task['id']}").json == {"result": 0}
    _, body = get(f"{stack}/api/v2/tasks/{task['id']}/artifacts")
    assert json.loads(body)["files"] == []


def cache_counts(stack: str) -> dict[str, int]:
    _, body = get(f"{stack}/api/v2/nodes")
    counts: dict[str, int] = json.loads(body)["executors"][0]["cache"]
    return counts


def test_one_compilation_serves_several_inputs(stack: str) -> None:
    source = (
        f"int main() {{ char c; std::cin >> c; std::cout << c << c; }} // {secrets.token_hex(8)}"
    )
    document = {
        "sources": [{"path": "main.cpp", "text": f"#include <iostream>\n{source}"}],
        "stages": {
            "compile": {"command": "g++ -o main main.cpp; echo built", "limits": {"wall_s": 60}},
            "execute": {"command": "./main"},
        },
    }
    before = cache_counts(stack)
    seen = []
    for letter, cache in (("a", "auto"), ("b", "auto"), ("c", "auto"), ("d", "off")):
        task = run(stack, {**document, "stdin": {"text": letter}, "cache": cache})
        assert task["state"] == "succeeded", task
        compiled = task["stages"]["compile"]["result"]
        assert task["stages"]["execute"]["result"]["stdout"]["text"] == 2 * letter
        assert compiled["stdout"]["text"] == "built\n"
        seen.append(compiled["cache"])
    assert seen == ["miss", "hit", "hit", "off"]
    deadline = time.monotonic() + 30  # a heartbeat takes it to the judicator
    while (after := cache_counts(stack))["hits"] < before["hits"] + 2:
        assert time.monotonic() < deadline, (before, after)
        time.sleep(0.1)
    assert min(after["misses"], after["stored"], after["entries"]) >= 1
    assert 0 < after["size_bytes"] < after["max_bytes"]
