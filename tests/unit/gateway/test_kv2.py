"""The façade's translation, over sockets, with a judicator that says what the test wants."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import pytest

from khala.model.errors import KhalaError, OutcomeUnknown, Unavailable
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome, Stream, StreamRef
from khala.model.spec import Part, Stage
from khala.protocol.rpc import SubmitTask
from tests.unit.gateway.conftest import DEFAULTS, MAX_BODY, Site, break_with, config_of, running

FORM = {
    "user": "0",
    "compile_command": "cat a\r\n",
    "compile_timeout": "1",
    "execute_input": "x",
    "execute_command": "cat",
    "execute_timeout": "1",
    "execute_standard": "std",
}
UNKNOWN = "0" * 24
ZIP = b"PK\x05\x06" + bytes(18)


def task_of(**parts: bytes) -> SubmitTask:
    limits = DEFAULTS.with_timeout(1, 86_400_000)
    return SubmitTask(
        user=0,
        compile_timeout_s=1,
        execute_timeout_s=1,
        compile_limits=limits,
        execute_limits=limits,
        parts={Part(name): data for name, data in parts.items()},
    )


def ended(reason: Reason, stage: Stage | None = None, **streams: bytes) -> Outcome:
    """A failed outcome with these outputs."""
    result = StageOutcome(reason=reason)
    fine = StageOutcome(reason=Reason.OK)
    return Outcome(
        ending=Ending.FAILED if stage else Ending.SUCCEEDED,
        reason=reason,
        stage=stage,
        compile=result if stage is Stage.COMPILE else fine,
        execute=None if stage is Stage.COMPILE else result,
        streams={
            Stream(name): StreamRef(size_bytes=len(data), inline=data)
            for name, data in streams.items()
        },
    )


@pytest.fixture
def impatient(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A gateway that takes the first "not now" for an answer."""
    monkeypatch.setattr("khala.net.calls.PATIENCE_S", 0.0)
    return site


async def post(site: Site, fields: dict[str, str]) -> tuple[int, dict[str, object]]:
    async with site.http.post(site.url("/api/task"), data=fields) as response:
        return response.status, cast(dict[str, object], await response.json())


async def get_text(site: Site, path: str) -> tuple[int, str]:
    async with site.http.get(site.url(path)) as response:
        return response.status, await response.text()


async def result_of(site: Site, outcome: Outcome) -> dict[str, str]:
    task = site.judicator.add(task_of(execute_command=b"x"), outcome)
    _, text = await get_text(site, f"/api/task?id={task.id}")
    return cast(dict[str, str], json.loads(text)["task"]["result"])


async def test_a_submission_becomes_a_task(site: Site) -> None:
    status, body = await post(site, {**FORM, "execute_timeout": "0"})
    assert status == 200
    assert body == {"id": next(iter(site.judicator.tasks)), "result": 0}
    sent = site.judicator.submitted[0]
    assert sent.parts[Part.COMPILE_COMMAND] == b"cat a\n"
    assert sent.compile_limits.wall_ms == 1000
    assert sent.execute_limits.wall_ms == 86_400_000
    assert sent.execute_timeout_s == 0
    assert sent.key is not None


async def test_the_answer_is_golden(site: Site) -> None:
    task = site.judicator.add(
        task_of(
            compile_source=ZIP,
            compile_command=b"cat a\n",
            execute_input=b"x",
            execute_command=b"cat",
            execute_standard=b"std",
        )
    )
    _, text = await get_text(site, f"/api/task?id={task.id}")
    assert text == (
        '{"result":0,"task":{"add_time":"2026-11-24T00:04:08.615000","compile":{"command":"cat'
        ' a\\n","source":true,"timeout":1},"done":false,"execute":{"command":"cat","data":false,'
        f'"input":"x","standard":"std","timeout":1}},"executor":null,"id":"{task.id}",'
        '"report_time":"2026-11-24T00:04:08.615000","result":null,"status":0,"user":0}}\n'
    )


@pytest.mark.parametrize(
    ("address", "successor"),
    [
        ("/api/task?id=nonsense", "/api/v2/tasks"),
        ("/api/task/list", "/api/v2/tasks"),
        ("/api/executors", "/api/v2/nodes"),
        ("/api/judicators", "/api/v2/nodes"),
    ],
)
async def test_answers_name_their_successor(site: Site, address: str, successor: str) -> None:
    async with site.http.get(site.url(address)) as response:
        assert response.headers["Link"] == f'<{successor}>; rel="successor-version"'


@pytest.mark.parametrize("user", [" 5 ", "+5", "1_0", "٣", "0", "2147483647"])
async def test_integers_as_python_reads_them(site: Site, user: str) -> None:
    assert (await post(site, {**FORM, "user": user}))[1]["result"] == 0
    assert site.judicator.submitted[0].user == int(user)


@pytest.mark.parametrize("field", sorted(FORM))
async def test_a_missing_field_is_invalid(site: Site, field: str) -> None:
    fields = {name: value for name, value in FORM.items() if name != field}
    async with site.http.post(site.url("/api/task"), data=fields) as response:
        assert await response.text() == '{"id":null,"result":4}\n'
        assert field in response.headers["Khala-Detail"]
    assert site.judicator.submitted == []


@pytest.mark.parametrize("text", ["", "1.5", "-1", "2147483648", "abc", "9" * 5000])
@pytest.mark.parametrize("field", ["user", "compile_timeout", "execute_timeout"])
async def test_a_bad_integer_is_invalid(site: Site, field: str, text: str) -> None:
    assert (await post(site, {**FORM, field: text}))[1] == {"id": None, "result": 4}


@pytest.mark.parametrize("name", ["a.c", "sub/a.c", "naïve.c", ".hidden"])
async def test_a_named_text_becomes_an_archive(site: Site, name: str) -> None:
    fields = {**FORM, "compile_source_name": name, "compile_source_str": "a\r\nb"}
    assert (await post(site, fields))[1]["result"] == 0
    archive = site.judicator.submitted[0].parts[Part.COMPILE_SOURCE]
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert {info.filename: opened.read(info) for info in opened.infolist()} == {name: b"a\nb"}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../b", "a//b", "a/", ".", "a\\b", "x" * 300])
@pytest.mark.parametrize("field", ["compile_source", "execute_data"])
async def test_a_name_that_leaves_its_place_is_invalid(site: Site, field: str, name: str) -> None:
    fields = {**FORM, f"{field}_name": name, f"{field}_str": "x"}
    assert (await post(site, fields))[1] == {"id": None, "result": 4}


async def test_half_of_a_named_text_is_nothing(site: Site) -> None:
    assert (await post(site, {**FORM, "compile_source_name": "a.c"}))[1]["result"] == 0
    assert site.judicator.submitted[0].parts[Part.COMPILE_SOURCE] == b""


@pytest.mark.parametrize("size", [MAX_BODY + 1, 3 * MAX_BODY])
@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_is_code_3(site: Site, size: int, *, chunked: bool) -> None:
    body = b"user=" + b"1" * size

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with site.http.post(
        site.url("/api/task"), data=pieces() if chunked else io.BytesIO(body), headers=headers
    ) as response:
        assert response.status == 200
        assert await response.text() == '{"id":null,"result":3}\n'


async def test_a_body_at_the_limit_is_taken(site: Site) -> None:
    fields = {**FORM, "execute_input": ""}
    encoded = urlencode({**fields, "execute_input": ""})
    rest = MAX_BODY - len(encoded)
    body = encoded.replace("execute_input=", "execute_input=" + "x" * rest).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with site.http.post(
        site.url("/api/task"), data=io.BytesIO(body), headers=headers
    ) as response:
        assert (await response.json())["result"] == 0
    assert len(site.judicator.submitted[0].parts[Part.EXECUTE_INPUT]) == rest


async def test_an_idempotency_key_names_one_task(site: Site) -> None:
    answers = []
    for _ in range(2):
        async with site.http.post(
            site.url("/api/task"), data=FORM, headers={"Idempotency-Key": "k-1"}
        ) as response:
            answers.append((await response.text(), response.headers.get("Idempotency-Replayed")))
    assert answers[0][0] == answers[1][0]
    assert [replayed for _, replayed in answers] == [None, "true"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/task", '{"id":null,"result":1}\n'),
        ("DELETE", f"/api/task?id={UNKNOWN}", '{"result":1}\n'),
        ("GET", f"/api/task?id={UNKNOWN}", '{"result":1,"task":null}\n'),
        ("GET", "/api/task/list", '{"pages":0,"result":1,"tasks":[]}\n'),
        ("GET", f"/api/task?id={UNKNOWN}&file=compile_output", '{"result":1,"task":null}\n'),
    ],
)
@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("not now"), 503), (OutcomeUnknown("perhaps"), 504)]
)
async def test_a_judicator_that_cannot(
    impatient: Site, method: str, path: str, body: str, *, error: KhalaError, status: int
) -> None:
    site = impatient
    await break_with(site, error)
    if method == "GET" or "list" in path:
        status = 503  # a read has no effect that could be in doubt
    if method == "DELETE":
        status = 503  # the audit log was asked first, and nothing was done
    data = FORM if method == "POST" else None
    async with site.http.request(method, site.url(path), data=data) as response:
        assert (response.status, await response.text()) == (status, body)
        assert ("Retry-After" in response.headers) == (status == 503)


async def test_no_judicator_at_all(secret_file: Path, impatient: Site) -> None:
    site = impatient
    async with running(config_of(secret_file, "127.0.0.1:9")) as base:
        for path, status, body in [
            ("/api/executors", 503, '{"executors":[],"result":1}\n'),
            ("/api/judicators", 200, '{"judicators":[],"result":0}\n'),
            ("/api/task/list", 503, '{"pages":0,"result":1,"tasks":[]}\n'),
        ]:
            async with site.http.get(base + path) as response:
                assert (response.status, await response.text()) == (status, body)


async def test_an_answer_that_was_lost_is_asked_for_again(site: Site) -> None:
    site.judicator.swallow = 1
    assert (await post(site, FORM))[1]["result"] == 0
    assert len(site.judicator.tasks) == 1
    assert len({sent.key for sent in site.judicator.submitted}) == 1


async def test_a_cancellation_whose_answer_was_lost_is_a_success(site: Site) -> None:
    task = site.judicator.add(task_of())
    site.judicator.swallow = 1
    async with site.http.delete(site.url(f"/api/task?id={task.id}")) as response:
        assert await response.text() == '{"result":0}\n'
    async with site.http.delete(site.url(f"/api/task?id={task.id}")) as response:
        assert await response.text() == '{"result":2}\n'


@pytest.mark.parametrize(
    ("outcome", "texts"),
    [
        (
            ended(Reason.OK, None, compile_error=b"warning", execute_output=b"out\xff"),
            {"compile_error": "warning", "execute_output": "out�"},
        ),
        (
            ended(Reason.WALL_TIME, Stage.COMPILE, compile_output=b"so far", compile_error=b"x"),
            {"compile_output": "so far", "compile_error": "Compile time out."},
        ),
        (
            ended(Reason.CPU_TIME, Stage.EXECUTE, execute_output=b"so far", execute_error=b"x"),
            {"execute_output": "so far", "execute_error": "Execution time out."},
        ),
        (
            ended(Reason.OUTPUT_LIMIT, Stage.COMPILE, compile_output=b"lots"),
            {"compile_error": "Compile output limitation exceeded."},
        ),
        (
            ended(Reason.OUTPUT_LIMIT, Stage.EXECUTE, execute_output=b"lots"),
            {"execute_error": "Execution output limitation exceeded."},
        ),
        (
            Outcome(ending=Ending.ERROR, reason=Reason.BAD_INPUT, note="not a zip file"),
            {"compile_error": "not a zip file"},
        ),
        (
            Outcome(
                ending=Ending.ERROR, reason=Reason.INTERNAL, stage=Stage.EXECUTE, note="no jail"
            ),
            {"execute_error": "no jail"},
        ),
        (
            Outcome(ending=Ending.ERROR, reason=Reason.EXECUTOR_LOST_REPEATEDLY),
            {"compile_error": "The task ended with: executor lost repeatedly."},
        ),
    ],
)
async def test_results_in_kv2s_words(site: Site, outcome: Outcome, texts: dict[str, str]) -> None:
    empty = dict.fromkeys(map(str, Stream), "")
    assert await result_of(site, outcome) == {**empty, **texts}
