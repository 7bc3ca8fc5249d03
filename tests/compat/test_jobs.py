"""Arrays, lists and batches on the whole stack, from the request to what the jails saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HELLO = {"stages": {"execute": {"command": 'echo "$KHALA_ARRAY_INDEX $KHALA_ENTRY"'}}}


def ask(stack: str, method: str, path: str, body: object = None, key: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{stack}{path}", data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def accepted(stack: str, document: object, key: str = "") -> str:
    status, answer = ask(stack, "POST", "/api/v2/jobs", document, key)
    assert status == 201, answer
    job: str = answer["id"]
    return job


def ended(stack: str, job: str) -> dict[str, Any]:
    while True:
        _, seen = ask(stack, "GET", f"/api/v2/jobs/{job}")
        if seen["done"]:
            found: dict[str, Any] = seen
            return found
        time.sleep(0.1)


def members(stack: str, job: str, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page_query = f"?limit=7{query}" + (f"&cursor={cursor}" if cursor else "")
        status, page = ask(stack, "GET", f"/api/v2/jobs/{job}/tasks{page_query}")
        assert status == 200, page
        rows += page["items"]
        cursor = page["next_cursor"]
    return rows


def stdout_of(stack: str, task: str) -> str:
    _, seen = ask(stack, "GET", f"/api/v2/tasks/{task}?wait=60s")
    text: str = seen["stages"]["execute"]["result"]["stdout"]["text"]
    return text


def test_an_array_with_entries_runs_each_member_once(stack: str) -> None:
    entries = [f"line {n}" for n in range(20)]
    document = {"name": "twenty", "task": HELLO, "array": "10-48:2%5", "entries": entries}
    job = accepted(stack, document, "an array")
    assert accepted(stack, document, "an array") == job
    assert ask(stack, "POST", "/api/v2/jobs", {**document, "name": "x"}, "an array")[0] == 422
    seen = ended(stack, job)
    assert (seen["state"], seen["size"], seen["counts"]["succeeded"]) == ("succeeded", 20, 20)
    assert (seen["array"], seen["limit"], seen["name"]) == ("10-48:2", 5, "twenty")
    rows = members(stack, job)
    assert [row["job"] for row in rows] == [{"id": job, "index": n} for n in range(10, 50, 2)]
    assert stdout_of(stack, rows[3]["id"]) == "16 line 3\n"
    _, page = ask(stack, "GET", "/api/v2/jobs?limit=500")
    assert job in [each["id"] for each in page["items"]]


def test_a_member_is_readable_before_it_is_made(stack: str) -> None:
    task = {"stages": {"execute": {"command": "sleep 30; echo never"}}}
    job = accepted(stack, {"task": task, "array": "0-99999%1"})
    last = f"{job[:-6]}{100_000:06x}"
    status, seen = ask(stack, "GET", f"/api/v2/tasks/{last}")
    assert (status, seen["state"], seen["job"]) == (200, "queued", {"id": job, "index": 99_999})
    assert ask(stack, "GET", f"/api/v2/tasks/{job[:-6]}{100_001:06x}")[0] == 404
    status, row = ask(stack, "POST", f"/api/v2/tasks/{last}/cancel", {"by": "ben"})
    assert (status, row["state"]) == (200, "cancelled")
    status, page = ask(stack, "GET", f"/api/v2/jobs/{job}/tasks?state=queued&limit=3")
    assert status == 200 and len(page["items"]) == 3
    said = {"reason": "wrong input", "by": "ann"}
    status, seen = ask(stack, "POST", f"/api/v2/jobs/{job}/cancel", said)
    assert (status, seen["cancellation"]) == (200, said)
    assert ask(stack, "POST", f"/api/v2/jobs/{job}/cancel")[0] == 200
    seen = ended(stack, job)
    assert (seen["state"], seen["stopped"]) == ("cancelled", "cancelled")
    assert seen["counts"]["cancelled"] == 100_000
    # What ran, what nobody made any more, and what had been cancelled by itself.
    words = ("ann: wrong input", "ann: wrong input", "ben")
    for position, by in zip((1, 50_000, 100_000), words, strict=True):
        _, member = ask(stack, "GET", f"/api/v2/tasks/{job[:-6]}{position:06x}")
        assert (member["state"], member["message"]) == ("cancelled", f"cancelled by {by}")


def test_too_many_failures_stop_a_job(stack: str) -> None:
    task = {"stages": {"execute": {"command": "exit 3"}}}
    job = accepted(stack, {"task": task, "array": "1-1000%2", "max_fails": 2})
    seen = ended(stack, job)
    assert (seen["state"], seen["stopped"]) == ("failed", "max_fails")
    assert 3 <= seen["counts"]["failed"] < 20
    assert len(members(stack, job, "&state=failed")) == seen["counts"]["failed"]


def test_a_list_of_tasks_that_differ(stack: str) -> None:
    tasks = [{"stages": {"execute": {"command": f"echo {n}"}}} for n in range(3)]
    job = accepted(stack, {"tasks": tasks})
    assert ended(stack, job)["counts"]["succeeded"] == 3
    assert [stdout_of(stack, row["id"]) for row in members(stack, job)] == ["0\n", "1\n", "2\n"]


def test_a_batch_answers_item_by_item(stack: str) -> None:
    sound = {"stages": {"execute": {"command": "echo batch"}}}
    broken = {"stages": {"execute": {"command": "x", "limits": {"memory": 1}}}}
    document = {"tasks": [sound, broken, sound]}
    status, answer = ask(stack, "POST", "/api/v2/tasks/batch", document, "a batch")
    assert (status, answer["accepted"]) == (200, 2)
    first, second, third = answer["items"]
    assert second["problem"]["errors"][0]["pointer"] == "/stages/execute/limits/memory"
    assert stdout_of(stack, first["id"]) == "batch\n"
    assert ask(stack, "POST", "/api/v2/tasks/batch", document, "a batch")[1]["items"][2] == third
    longer = {"tasks": [sound, sound, sound]}
    status, answer = ask(stack, "POST", "/api/v2/tasks/batch", longer, "a batch")
    codes = [item["problem"]["code"] if item["problem"] else None for item in answer["items"]]
    assert codes == ["idempotency_mismatch", None, "idempotency_mismatch"]


def test_a_dry_run_of_many_tasks_creates_none(stack: str) -> None:
    broken = {"stages": {"execute": {"command": "x", "limits": {"memory": 1}}}}
    status, plan = ask(
        stack, "POST", "/api/v2/tasks/batch?dry_run=true", {"tasks": [broken, HELLO]}
    )
    assert (status, plan["accepted"]) == (200, 1)
    first, second = plan["items"]
    assert first["plan"] is None
    assert first["problem"]["errors"][0]["pointer"] == "/stages/execute/limits/memory"
    assert list(second["plan"]["stages"]) == ["execute"] and second["problem"] is None
    array = {"name": "never", "task": HELLO, "array": "10-48:2%5", "max_fails": 3, "held": True}
    status, plan = ask(stack, "POST", "/api/v2/jobs?dry_run=true", array)
    assert (status, plan["name"], plan["size"]) == (200, "never", 20)
    assert (plan["array"], plan["limit"], plan["max_fails"]) == ("10-48:2", 5, 3)
    assert plan["held"] is True
    assert plan["task"] == second["plan"] and plan["tasks"] == []
    status, plan = ask(stack, "POST", "/api/v2/jobs?dry_run=true", {"tasks": [HELLO, HELLO]})
    assert (status, plan["size"], plan["task"]) == (200, 2, None)
    assert ask(stack, "POST", "/api/v2/jobs?dry_run=true", {"tasks": [HELLO, broken]})[0] == 422
    _, page = ask(stack, "GET", "/api/v2/jobs?limit=500")
    assert "never" not in [each["name"] for each in page["items"]]


def test_an_array_from_the_command_line(stack: str, tmp_path: Path) -> None:
    """Submitted, followed, looked at and cancelled, as the documents show it."""

    def khala(*arguments: str, code: int = 0) -> tuple[str, str]:
        environment = {**os.environ, "KHALA_URL": stack, "HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "khala", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr

    (tmp_path / "words").write_text("one\ntwo\nthree\n")
    command = 'test "$KHALA_ENTRY" != two'
    words = str(tmp_path / "words")
    job, _ = khala("submit", "--parsable", "--each-line", words, "--max-fails", "9", command)
    _, drawn = khala("progress", job.strip(), code=1)
    assert drawn.splitlines()[-1] == "[####################] 3/3  failed 1"
    [seen] = json.loads(khala("job", "get", "last", "-o", "json")[0])
    assert (seen["state"], seen["array"], seen["max_fails"]) == ("failed", "0-2", 9)
    failed, _ = khala("job", "tasks", "last", "--state", "failed", "-o", "name")
    assert failed == f"{seen['id'][:-6]}000002\n"
    job, _ = khala("submit", "--array", "0-99999%1", "--", "sleep", "60")
    why = ("--by", "ann", "--reason", "wrong input")
    assert khala("job", "cancel", job.strip(), *why)[0] == f"{job.strip()} cancelled\n"
    told, _ = khala("explain", f"{job.strip()[:-6]}000001")
    assert told.splitlines()[0].endswith("cancelled by ann: wrong input")
    assert job.strip() in khala("job", "ls", "-o", "name")[0].split()
    name, _ = khala("blob", "put", words)
    assert khala("blob", "get", name.split()[0])[0] == "one\ntwo\nthree\n"
