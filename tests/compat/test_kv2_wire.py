"""KV2's answers, byte for byte, from the whole stack: submission, listing, cancelling, errors."""

from __future__ import annotations

import json
import re
import time
import urllib.parse

import pytest

from tests.compat.kv2_client import FORM, Answer, Kv2Client

UNKNOWN = "0" * 24
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?"
MAX_BODY = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def sleeper(kv2: Kv2Client) -> str:
    """A task that runs until somebody cancels it."""
    return kv2.submit(execute_command="sleep 300", execute_timeout="0")


def test_the_test_page(kv2: Kv2Client) -> None:
    answer = kv2.get("/api/test")
    assert (answer.status, answer.body) == (200, b"Khala gateway server is working.")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/api/test", "/api/task/list", "/api/executors", "/"])
def test_head_and_options(kv2: Kv2Client, path: str) -> None:
    head = kv2.call("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    options = kv2.call("OPTIONS", path)
    assert options.status == 200
    assert set(options.headers["Allow"].split(", ")) >= {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/task", {"GET", "HEAD", "OPTIONS", "POST", "DELETE"}),
        ("POST", "/api/task/list", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/api/executors", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/search", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method(kv2: Kv2Client, method: str, path: str, allowed: set[str]) -> None:
    answer = kv2.call(method, path, b"" if method == "POST" else None)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE HTML PUBLIC")


@pytest.mark.parametrize("path", ["/nope", "/api/nope", "/api/task/", "/search.html", "/res/x"])
def test_row_12_unknown_pages_are_404(kv2: Kv2Client, path: str) -> None:
    answer = kv2.get(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "path", ["/", "/search", "/add", f"/get?id={UNKNOWN}", "/executors", "/judicators", "/frame"]
)
def test_the_pages_are_there(kv2: Kv2Client, path: str) -> None:
    answer = kv2.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_submission_and_the_whole_task(kv2: Kv2Client) -> None:
    answer = kv2.post(
        {
            "user": "7",
            "compile_source_name": "a",
            "compile_source_str": "x",
            "compile_command": "sleep 300\r\n",
            "compile_timeout": "0",
            "execute_input": "x\u2713",
            "execute_command": "cat",
            "execute_timeout": "1",
            "execute_standard": "std",
        }
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    submitted = re.fullmatch(rb'\{"id":"([a-f0-9]{24})","result":0\}\n', answer.body)
    assert submitted is not None
    task = submitted.group(1).decode()
    try:
        kv2.wait_status(task, 1)
        shown = kv2.get(f"/api/task?id={task}")
        assert shown.headers["Content-Type"] == "application/json"
        executor = json.dumps(shown.json["task"]["executor"])
        assert re.fullmatch(
            rf'\{{"result":0,"task":\{{"add_time":"{TIME}","compile":\{{"command":"sleep 300\\n",'
            r'"source":true,"timeout":0\},"done":false,"execute":\{"command":"cat","data":false,'
            r'"input":"x\\u2713","standard":"std","timeout":1\},"executor":'
            rf'{re.escape(executor)},"id":"{task}","report_time":"{TIME}","result":null,'
            r'"status":1,"user":7\}\}\n',
            shown.text,
        ), shown.text
        assert executor != "null"
    finally:
        assert kv2.call("DELETE", f"/api/task?id={task}").body == b'{"result":0}\n'


def test_cancelling(kv2: Kv2Client, sleeper: str) -> None:
    kv2.wait_status(sleeper, 3)
    path = f"/api/task?id={sleeper}"
    assert kv2.call("DELETE", path).body == b'{"result":0}\n'
    assert kv2.call("DELETE", path).body == b'{"result":2}\n'
    task = kv2.task(sleeper)
    assert (task["done"], task["status"], task["result"], task["executor"]) == (True, 7, None, None)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/task", b'{"result":4}\n'),
        ("DELETE", "/api/task?id=", b'{"result":4}\n'),
        ("DELETE", "/api/task?id=xyz", b'{"result":4}\n'),
        ("DELETE", f"/api/task?id={'A' * 24}", b'{"result":4}\n'),
        ("DELETE", f"/api/task?id={UNKNOWN}", b'{"result":2}\n'),
        ("GET", "/api/task", b'{"result":4,"task":null}\n'),
        ("GET", "/api/task?id=", b'{"result":4,"task":null}\n'),
        ("GET", "/api/task?id=xyz", b'{"result":4,"task":null}\n'),
        ("GET", f"/api/task?id={'A' * 24}", b'{"result":4,"task":null}\n'),
        ("GET", f"/api/task?id={UNKNOWN}", b'{"result":2,"task":null}\n'),
        ("GET", f"/api/task/list?id={UNKNOWN}", b'{"pages":0,"result":0,"tasks":[]}\n'),
        ("GET", "/api/task/list?user=2147483647", b'{"pages":0,"result":0,"tasks":[]}\n'),
        *(
            ("GET", f"/api/task/list?{query}", b'{"pages":0,"result":4,"tasks":[]}\n')
            for query in (
                *("id=", f"id={'A' * 24}", "id=x", "user=", "user=-1", "user=2147483648"),
                *("limit=", "limit=x", "page=", "page=1.5", "start_time=x", "end_time=32.13.2026"),
            )
        ),
    ],
)
def test_rows_4_and_5_errors_are_codes(kv2: Kv2Client, method: str, path: str, body: bytes) -> None:
    answer = kv2.call(method, path)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("user", [" 5 ", "+5", "1_0", "٣", "2147483647"])
def test_row_22_integers_are_read_as_python_does(kv2: Kv2Client, user: str) -> None:
    task = kv2.task(kv2.submit(user=user))
    assert task["user"] == int(user)


@pytest.mark.parametrize("text", ["", "1.5", "-1", "2147483648", "abc"])
@pytest.mark.parametrize("field", ["user", "compile_timeout", "execute_timeout"])
def test_bad_integers_are_code_4(kv2: Kv2Client, field: str, text: str) -> None:
    assert kv2.post({**FORM, field: text}).body == b'{"id":null,"result":4}\n'


@pytest.mark.parametrize("field", sorted(FORM))
def test_missing_fields_are_code_4(kv2: Kv2Client, field: str) -> None:
    fields = {name: value for name, value in FORM.items() if name != field}
    assert kv2.post(fields).body == b'{"id":null,"result":4}\n'


def test_a_json_body_is_code_4(kv2: Kv2Client) -> None:
    body = json.dumps(FORM).encode()
    answer = kv2.call("POST", "/api/task", body, "application/json")
    assert (answer.status, answer.body) == (200, b'{"id":null,"result":4}\n')


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "a/"])
@pytest.mark.parametrize("field", ["compile_source", "execute_data"])
def test_row_9_names_stay_inside(kv2: Kv2Client, field: str, name: str) -> None:
    fields = {**FORM, f"{field}_name": name, f"{field}_str": "x"}
    assert kv2.post(fields).body == b'{"id":null,"result":4}\n'


def test_row_10_oversize_is_code_3(kv2: Kv2Client) -> None:
    answer = kv2.call("POST", "/api/task", b"user=" + b"0" * MAX_BODY)
    assert (answer.status, answer.body) == (200, b'{"id":null,"result":3}\n')


def test_lists(kv2: Kv2Client) -> None:
    user = str(1_000_000 + time.time_ns() % 1_000_000_000)
    tasks = [kv2.submit(user=user) for _ in range(5)]
    for task in tasks:
        kv2.wait(task)

    def ids(query: str) -> tuple[int, list[str]]:
        body = kv2.get(f"/api/task/list?user={user}&{query}").json
        return body["pages"], [task["id"] for task in body["tasks"]]

    assert ids("") == (1, tasks[::-1])
    assert ids("limit=0&page=3") == (1, tasks[::-1])
    assert ids("old_to_new=0") == (1, tasks)  # row 14
    assert ids("old_to_new=false&limit=2") == (3, tasks[:2])
    assert ids("limit=2&page=2") == (3, tasks[:1])
    assert ids("limit=2&page=7") == (3, [])
    assert ids("start_time=&end_time=") == (1, tasks[::-1])
    middle = kv2.task(tasks[2])["add_time"]
    since = kv2.get(f"/api/task/list?user={user}&start_time={middle}").json["tasks"]
    until = kv2.get(f"/api/task/list?user={user}&end_time={middle}Z").json["tasks"]
    assert {task["id"] for task in since} >= set(tasks[2:])
    assert {task["id"] for task in until} >= set(tasks[:3])
    assert tasks[0] not in {task["id"] for task in since} or middle == since[-1]["add_time"]
    only = kv2.get(f"/api/task/list?id={tasks[0]}")
    brief = only.json["tasks"][0]
    assert re.fullmatch(
        rf'\{{"pages":1,"result":0,"tasks":\[\{{"add_time":"{TIME}","done":true,"executor":null,'
        rf'"id":"{tasks[0]}","report_time":"{TIME}","status":5,"user":{user}\}}\]\}}\n',
        only.text,
    )
    assert brief["report_time"] >= brief["add_time"]


def test_executors(kv2: Kv2Client) -> None:
    answer = kv2.get("/api/executors")
    assert re.fullmatch(
        rf'\{{"executors":\[\{{"hostname":"[^"]+","id":"[a-f0-9]{{24}}","report_time":"{TIME}"\}}'
        r'\],"result":0\}\n',
        answer.text,
    )


def test_row_26_judicators(kv2: Kv2Client) -> None:
    answer = kv2.get("/api/judicators")
    assert re.fullmatch(
        r'\{"judicators":\[\{"address":"127\.0\.0\.1:\d+",'
        r'"name":"/judicator/service/[^"/]+"\}\],"result":0\}\n',
        answer.text,
    )


@pytest.mark.parametrize(
    ("file", "kind", "content"),
    [
        ("compile_command", "txt", b"echo compiled; echo warned >&2\n"),
        ("execute_command", "txt", b"cat; printf '\\377\\000\xc3\xa9'; echo failed >&2"),
        ("execute_input", "txt", b"in\nput"),
        ("execute_standard", "txt", b"std"),
        ("compile_output", "txt", b"compiled\n"),
        ("compile_error", "txt", b"warned\n"),
        ("execute_output", "txt", b"in\nput\xff\x00\xc3\xa9"),
        ("execute_error", "txt", b"failed\n"),
        ("compile_source", "zip", None),
        ("execute_data", "zip", None),
    ],
)
def test_rows_3_and_7_files(
    kv2: Kv2Client, finished: Answer, file: str, kind: str, content: bytes | None
) -> None:
    task = finished.json["task"]["id"]
    answer = kv2.get(f"/api/task?id={task}&file={file}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == ("application/zip" if kind == "zip" else "plain/text")
    assert answer.headers["Content-Disposition"] == (f"attachment; filename={task}_{file}.{kind}")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if content is None:
        assert answer.body.startswith(b"PK\x03\x04")
    else:
        assert answer.body == content


def test_row_7_output_that_is_no_text_is_shown(finished: Answer) -> None:
    task = finished.json["task"]
    assert (task["status"], task["done"], task["executor"]) == (5, True, None)
    assert task["result"] == {
        "compile_error": "warned\n",
        "compile_output": "compiled\n",
        "execute_error": "failed\n",
        "execute_output": "in\nput\ufffd\x00é",
    }
    assert rb"\ufffd" in finished.body


@pytest.mark.parametrize("file", ["nope", "id", "../../etc/passwd", "COMPILE_OUTPUT"])
def test_unknown_files_are_404(kv2: Kv2Client, finished: Answer, file: str) -> None:
    answer = kv2.get(f"/api/task?id={finished.json['task']['id']}&file={file}")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("task", ["", "xyz", UNKNOWN, "A" * 24])
def test_files_of_no_task_are_404(kv2: Kv2Client, task: str) -> None:
    assert kv2.get(f"/api/task?id={task}&file=compile_command").status == 404


def test_row_6_files_of_a_result_that_is_not_there(kv2: Kv2Client) -> None:
    task = kv2.submit(compile_command="sleep 300", compile_timeout="0")
    for file in ("compile_output", "execute_error", "compile_source", "execute_data"):
        assert kv2.get(f"/api/task?id={task}&file={file}").status == 404
    assert kv2.get(f"/api/task?id={task}&file=").json["result"] == 0
    assert kv2.call("DELETE", f"/api/task?id={task}").json == {"result": 0}
    assert kv2.get(f"/api/task?id={task}&file=compile_output").status == 404


@pytest.mark.parametrize(("length", "shown"), [(1000, 1000), (1001, 1003), (200_000, 1003)])
def test_texts_are_cut_at_1000_characters(kv2: Kv2Client, length: int, shown: int) -> None:
    task = kv2.submit(execute_input="é" * length, execute_command="cat")
    kv2.wait(task)
    cut = kv2.task(task)
    assert len(cut["execute"]["input"]) == len(cut["result"]["execute_output"]) == shown
    assert cut["execute"]["input"].endswith("...") == (shown == 1003)
    assert kv2.task(task, no_truncate="0")["result"]["execute_output"] == "é" * length
    file = kv2.get(f"/api/task?id={task}&file=execute_output").body
    assert file == ("é" * length).encode()


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("POST", "/api/task", 503, b'{"id":null,"result":1}\n'),
        ("DELETE", f"/api/task?id={UNKNOWN}", 503, b'{"result":1}\n'),
        ("GET", f"/api/task?id={UNKNOWN}", 503, b'{"result":1,"task":null}\n'),
        ("GET", "/api/task/list", 503, b'{"pages":0,"result":1,"tasks":[]}\n'),
        ("GET", "/api/executors", 503, b'{"executors":[],"result":1}\n'),
        ("GET", "/api/judicators", 200, b'{"judicators":[],"result":0}\n'),
    ],
)
def test_row_11_without_a_judicator(
    lonely: Kv2Client, method: str, path: str, status: int, body: bytes
) -> None:
    form = urllib.parse.urlencode(FORM).encode() if method == "POST" else None
    answer = lonely.call(method, path, form)
    assert (answer.status, answer.body) == (status, body)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert lonely.get("/readyz").status == 503
