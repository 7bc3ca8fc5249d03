"""Tasks with cases, from the request to what is said of each output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.compat.test_v2_tasks import post

SUM = {"path": "sum.sh", "text": "read a b; echo $((a + b))"}


def get(stack: str, path: str) -> Any:
    with urllib.request.urlopen(f"{stack}/api/v2/tasks/{path}", timeout=30) as response:
        return json.loads(response.read())


def read(stack: str, path: str) -> bytes:
    with urllib.request.urlopen(f"{stack}/api/v2/tasks/{path}", timeout=30) as response:
        data: bytes = response.read()
        return data


def case(stdin: str, stdout: str, **more: object) -> dict[str, object]:
    return {"stdin": {"text": stdin}, "expect": {"stdout": {"text": stdout}}, **more}


def document(command: str, cases: list[dict[str, object]], **more: object) -> dict[str, object]:
    return {
        "stages": {"execute": {"command": command, "limits": {"wall_s": 20}}},
        "cases": cases,
        **more,
    }


def run(stack: str, command: str, cases: list[dict[str, object]], **more: object) -> dict[str, Any]:
    status, task, _ = post(stack, document(command, cases, **more))
    assert status == 200, task
    return task


def verdicts(task: dict[str, Any]) -> list[str | None]:
    return [each["verdict"] for each in task["cases"]]


def test_compiled_once_and_judged_case_by_case(stack: str) -> None:
    task = run(
        stack,
        "bash built.sh",
        [
            case("1 2\n", "3\n", name="small"),
            case("3 4\n", "8\n", name="wrong", weight=9),
            case("5 6\n", " 11 \n\n"),
        ],
        sources=[SUM],
        stages={
            "compile": {"command": "head -c 8 /dev/urandom | od -An -tx1 >id; mv sum.sh built.sh"},
            "execute": {"command": "bash built.sh; cat id >&2; ls >&2; touch seen"},
        },
    )
    # Exit code 0 with a wrong answer: three words that say three things.
    assert (task["state"], task["reason"], task["verdict"]) == ("succeeded", "ok", "WA")
    assert task["score"] == {"got": 2, "of": 11}
    assert verdicts(task) == ["AC", "WA", "AC"]
    assert [each["name"] for each in task["cases"]] == ["small", "wrong", "3"]
    wrong = task["cases"][1]
    assert wrong["first_difference"] == {"line": 1, "expected": "8", "actual": "7"}
    assert (wrong["reason"], wrong["exit_code"], wrong["number"]) == ("ok", 0, 2)
    assert wrong["wall_ms"] is not None and wrong["memory_peak_bytes"] > 0
    detail = get(stack, f"{task['id']}/cases/2")
    assert detail["stdin"] == {"size": 4, "text": "3 4\n"}
    assert detail["expected"]["text"] == "8\n"
    assert detail["stdout"]["text"] == "7\n"
    # One compilation, and no case sees another's files.
    errors = {read(stack, f"{task['id']}/cases/{n}/stderr") for n in (1, 2, 3)}
    [seen] = errors
    assert b"built.sh" in seen and b"id" in seen and b"seen" not in seen
    assert read(stack, f"{task['id']}/cases/3/stdout") == b"11\n"
    listed = get(stack, f"{task['id']}/cases")
    assert listed["items"] == task["cases"] and listed["score"] == task["score"]
    assert task["stages"]["execute"]["result"]["wall_ms"] >= wrong["wall_ms"]


def test_a_program_finds_which_case_it_is_run_for(stack: str) -> None:
    task = run(stack, 'echo "$KHALA_CASE"', [case("", "1\n"), case("", "2\n")])
    assert verdicts(task) == ["AC", "AC"]


def test_each_way_to_fail_has_its_verdict(stack: str) -> None:
    limits = {"wall_s": 1, "memory": "64MiB", "output": "64KiB"}
    task = run(
        stack,
        'bash -c "$(cat)"',
        [
            case("echo fine", "fine"),
            case("echo no", "fine"),
            case("echo fine; exit 3", "fine"),
            case("kill -SEGV $$", "fine"),
            case("sleep 30", "fine"),
            case("exec head -c 200M /dev/zero | tail", "fine"),
            case("yes", "fine"),
            case("printf 'fi\\0ne\\377'", "fine"),
        ],
        stages={"execute": {"command": 'bash -c "$(cat)"', "limits": limits}},
    )
    assert verdicts(task) == ["AC", "WA", "RE", "RE", "TLE", "MLE", "OLE", "WA"]
    assert (task["state"], task["reason"], task["verdict"]) == ("failed", "exit_nonzero", "RE")
    assert task["score"] == {"got": 1, "of": 8}
    slow = task["cases"][4]
    assert slow["limit"] == 1000 and slow["observed"] >= 1000 and "wall time" in slow["message"]
    assert task["cases"][6]["stdout"]["kept"] <= 64 * 1024


def test_it_may_stop_at_the_first_failure(stack: str) -> None:
    cases = [case("1", "1"), case("2", "1"), case("3", "3")]
    task = run(stack, "cat", cases, stop_on_first_failure=True)
    assert verdicts(task) == ["AC", "WA", "SKIP"]
    assert task["verdict"] == "WA" and task["score"] == {"got": 1, "of": 3}
    assert task["cases"][2]["reason"] is None


def test_nothing_is_run_of_what_does_not_compile(stack: str) -> None:
    stages = {"compile": {"command": "echo no >&2; exit 1"}, "execute": {"command": "cat"}}
    task = run(stack, "", [case("1", "1")] * 2, stages=stages)
    assert (task["state"], task["verdict"], verdicts(task)) == ("failed", "CE", ["SKIP", "SKIP"])
    assert task["score"] == {"got": 0, "of": 2}


def test_cases_without_an_expectation_are_only_run(stack: str) -> None:
    task = run(stack, "cat; exit $(cat | wc -l)", [{"stdin": {"text": "a"}}, {"name": "empty"}])
    assert task["state"] == "succeeded" and task["verdict"] is None and task["score"] is None
    assert verdicts(task) == [None, None]
    assert read(stack, f"{task['id']}/cases/1/stdout") == b"a"


@pytest.mark.parametrize(
    ("command", "expected", "check", "verdict"),
    [
        ("echo '1  2'", "1 2\n", None, "AC"),
        ("echo '1  2'", "1 2\n", {"mode": "lines"}, "PE"),
        ("echo '1 2 '", "1 2\n", {"mode": "lines"}, "AC"),
        ("echo '1 2 '", "1 2\n", {"mode": "exact"}, "PE"),
        ("echo 0.30000001", "0.3", {"mode": "float"}, "AC"),
        ("echo 0.31", "0.3", {"mode": "float", "absolute": 0.001}, "WA"),
        ("exit 4", "", None, "RE"),
        ("true", "", None, "AC"),
        ("echo x", "", None, "WA"),
    ],
)
def test_a_single_output_is_judged_too(
    stack: str, command: str, expected: str, check: object, verdict: str
) -> None:
    given: dict[str, object] = {
        "stages": {"execute": {"command": command}},
        "expect": {"stdout": {"text": expected}},
    }
    status, task, _ = post(stack, given | ({"check": check} if check else {}))
    assert (status, task["verdict"]) == (200, verdict), task
    assert task["score"] == {"got": int(verdict == "AC"), "of": 1}
    assert (task["state"] == "succeeded") == (command != "exit 4")


def test_large_cases(stack: str) -> None:
    """More than travels in the document, and each output up to its bound."""
    text = "0123456789abcde\n" * 65536
    cases = [case(f"{number}\n{text}", f"{number}\n{text}") for number in range(20)]
    cases[7] = case("7\n" + text, "7\n" + text[:-2] + "x\n")
    task = run(stack, "cat; echo $0 >&2", cases)
    assert verdicts(task) == ["WA" if number == 7 else "AC" for number in range(20)]
    assert task["cases"][7]["first_difference"]["line"] == 65537
    kept = read(stack, f"{task['id']}/cases/20/stdout")
    assert kept == f"19\n{text}".encode()[: 1024 * 1024]
    assert task["cases"][19]["stdout"] == {"size": 1024 * 1024 + 3, "kept": 1024 * 1024}
    assert read(stack, f"{task['id']}/cases/20/stderr") == b"execute.sh\n"
    assert get(stack, f"{task['id']}/cases/3")["expected"]["text"].startswith("2\n0123")


def test_kv2_s_status_does_not_change_with_the_verdict(stack: str) -> None:
    status, task, _ = post(
        stack,
        {"stages": {"execute": {"command": "echo 1"}}, "expect": {"stdout": {"text": "2"}}},
    )
    assert (status, task["verdict"]) == (200, "WA")
    with urllib.request.urlopen(f"{stack}/api/task?id={task['id']}", timeout=30) as response:
        assert json.loads(response.read())["task"]["status"] == 5


def test_what_is_not_there(stack: str) -> None:
    task = run(stack, "cat", [case("1", "1")])
    for path in ("cases/0", "cases/2", "cases/x", "cases/1/stdin"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(stack, f"{task['id']}/{path}")
        with caught.value as error:
            assert error.code == 404


def test_files_of_cases_can_be_had_as_those_of_other_tasks(stack: str, tmp_path: Path) -> None:
    task = run(
        stack,
        "mkdir out; cat >out/got; test $(cat out/got) != 2",
        [case("1\n", ""), case("2\n", ""), case("3\n", "")],
        stages={
            "compile": {"command": "echo made >log"},
            "execute": {"command": "mkdir out; cat >out/got; test $(cat out/got) != 2"},
        },
        artifacts={"collect": ["log", "out/**"]},
    )
    assert task["state"] == "failed"
    assert (task["artifacts"]["files"], task["artifacts"]["size"]) == (4, 11)
    listed = get(stack, f"{task['id']}/artifacts")["files"]
    contents = {
        "compile/log": b"made\n",
        "cases/1/out/got": b"1\n",
        "cases/2/out/got": b"2\n",
        "cases/3/out/got": b"3\n",
    }
    assert [file["name"] for file in listed] == list(contents)
    for name, content in contents.items():
        assert read(stack, f"{task['id']}/artifacts/{name}") == content
    archive = zipfile.ZipFile(io.BytesIO(read(stack, f"{task['id']}/artifacts.zip")))
    assert {name: archive.read(name) for name in archive.namelist()} == contents
    saved = tmp_path / "saved"
    subprocess.run(
        [sys.executable, "-m", "khala", "fetch", task["id"], "-d", str(saved)],
        env={**os.environ, "KHALA_URL": stack, "HOME": str(tmp_path)},
        capture_output=True,
        timeout=90,
        check=True,
    )
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {str(path.relative_to(saved)): path.read_bytes() for path in files} == contents
