"""`replay`: tasks of a running Khala, once more on this machine, in a jail of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.compat.conftest import ROOT
from tests.compat.test_v2_cases import SUM, case, run
from tests.compat.test_v2_tasks import post

#: Compiles twice: the program and its checker.
CHECKER = {
    "mode": "program",
    "sources": [{"path": "check.sh", "text": 'cmp -s "$2" "$3" || { echo no >&2; exit 1; }'}],
    "command": "bash check.sh",
}


def replay(stack: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "khala", "replay", "--url", stack, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def compared(stack: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the document."""
    done = replay(stack, *arguments, "-o", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def differing(report: dict[str, Any]) -> list[str]:
    return [
        f"{line['of']} {line['what']}".strip() for line in report["lines"] if line["same"] is False
    ]


def one(stack: str, command: str, **more: object) -> dict[str, Any]:
    """A task that has ended, without cases."""
    status, task, _ = post(stack, {"stages": {"execute": {"command": command}}, **more})
    assert status == 200, task
    return task


def test_a_task_ends_here_as_it_did_there(stack: str) -> None:
    """Sources, data, stdin, variables, both stages, both outputs, an exit code, its own id."""
    task = one(
        stack,
        "",
        sources=[{"path": "sub/a.txt", "text": "source\n"}],
        data=[{"path": "d.txt", "text": "data\n"}],
        stdin={"text": "from stdin\n"},
        env={"GREETING": "hello"},
        stages={
            "compile": {"command": "tr a-z A-Z <sub/a.txt >made; echo compiled"},
            "execute": {
                "command": "cat made data/d.txt - ; echo $GREETING $WORD $KHALA_TASK_ID"
                " $KHALA_ATTEMPT; echo warned >&2; exit 3",
                "env": {"WORD": "world"},
            },
        },
    )
    done = replay(stack, task["id"])
    assert done.returncode == 0, done.stderr
    said = f"hello world {task['id']} 1\n"
    assert done.stdout == f"SOURCE\ndata\nfrom stdin\n{said}"
    assert "warned\n" in done.stderr
    assert "exit code" in done.stderr and "differs" not in done.stderr
    assert done.stderr.endswith(f"khala: task {task['id']} ended here as it did there\n")


def test_what_is_not_the_same_every_time_is_found(stack: str) -> None:
    task = one(stack, "echo first; cat /proc/sys/kernel/random/uuid; echo last")
    code, report = compared(stack, task["id"])
    assert code == 1 and not report["alike"]
    assert differing(report) == ["execute stdout"]
    [line] = [line for line in report["lines"] if line["what"] == "stdout"]
    assert line["recorded"] == line["replayed"]
    found = line["difference"]
    assert found["line"] == 2 and found["offset"] >= len("first\n")
    assert found["recorded"] != found["replayed"]
    shown = replay(stack, task["id"])
    assert shown.returncode == 1
    assert f"task {task['id']} differs in: execute stdout\n" in shown.stderr
    assert "execute stdout: from line 2, byte " in shown.stderr


def test_a_limit_ends_it_here_too(stack: str) -> None:
    limits = {"wall_s": 0.5}
    task = one(stack, "", stages={"execute": {"command": "echo begun; sleep 60", "limits": limits}})
    assert task["reason"] == "wall_time"
    code, report = compared(stack, task["id"])
    assert code == 0, differing(report)
    ends = {line["what"]: line["replayed"] for line in report["lines"] if line["of"] == "execute"}
    assert ends["reason"] == "wall_time"
    assert report["replayed_enforcement"] == report["recorded_enforcement"]


def test_cases_and_their_checker(stack: str, tmp_path: Path) -> None:
    task = run(
        stack,
        "",
        [case("1 2\n", "3\n"), case("3 4\n", "8\n", name="wrong"), case("5 6\n", "11\n")],
        sources=[SUM],
        check=CHECKER,
        stages={
            "compile": {"command": "mv sum.sh built.sh"},
            "execute": {"command": "bash built.sh"},
        },
    )
    assert [each["verdict"] for each in task["cases"]] == ["AC", "WA", "AC"]
    code, report = compared(stack, task["id"])
    assert code == 0, differing(report)
    verdicts = [line["replayed"] for line in report["lines"] if line["what"] == "verdict"]
    assert verdicts == ["WA", "AC", "WA", "AC"]
    folder = tmp_path / "kept"
    code, report = compared(stack, task["id"], "--case", "2", "--keep", str(folder))
    assert code == 0, differing(report)
    assert {line["of"] for line in report["lines"]} == {"compile", "case 2"}
    kept = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert kept["source/sum.sh"].read_text() == SUM["text"]
    assert kept["given/case2.in"].read_text() == "3 4\n"
    assert kept["given/case2.expected"].read_text() == "8\n"
    for run_of in ("recorded", "replayed"):
        assert kept[f"{run_of}/case2.stdout"].read_text() == "7\n"
    assert {path.stat().st_uid for path in folder.rglob("*")} == {os.geteuid()}
    again = replay(stack, task["id"], "--keep", str(folder))
    assert again.returncode == 2
    assert again.stderr == f"khala: --keep: '{folder}' exists; give a folder that is to be made\n"


def groups() -> list[Path]:
    """Of the sandboxes of replays, wherever the machine has them."""
    return [*Path("/sys/fs/cgroup").glob("**/khala/replay-*")]


def test_what_cannot_be_replayed_is_said(stack: str) -> None:
    before = {*groups()}
    task = run(stack, "cat", [case("1", "1")])
    done = replay(stack, task["id"], "--case", "2")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"khala: --case: task {task['id']} has cases 1 to 1, 2 was given\n"
    nowhere = {"placement": {"require": {"zone": "nowhere"}}}
    spec = {"stages": {"execute": {"command": "true"}}, **nowhere}
    status, waiting, _ = post(stack, spec, query="")
    assert status == 201, waiting
    done = replay(stack, waiting["id"])
    assert done.returncode == 5
    assert "is queued: there is no end yet to compare with" in done.stderr
    assert {*groups()} == before
    cancel = f"{stack}/api/v2/tasks/{waiting['id']}/cancel"
    with urllib.request.urlopen(urllib.request.Request(cancel, method="POST"), timeout=30):
        pass
