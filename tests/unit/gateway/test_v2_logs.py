"""`/logs` over HTTP: what is answered to whom, in which form, from where on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId
from khala.model.limits import LOG_FOLLOWERS
from khala.model.live import Channel, LiveChunk, Section, Source
from khala.model.outcome import (
    Ending,
    Outcome,
    Reason,
    StageOutcome,
    Stream,
    StreamCut,
    StreamRef,
)
from khala.model.spec import Stage
from khala.model.statements import RequeueItem, RetryItem
from khala.model.task import brief_of
from khala.protocol.rpc import LogGrew, TaskChanged
from roles.gateway import v2_logs
from tests.store.samples import a_lease, a_task, finish_item, lease_item
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.double import START

COMPILE, EXECUTE = Section(Stage.COMPILE), Section(Stage.EXECUTE)
SSE = {"Accept": "text/event-stream"}
NDJSON = {"Accept": "application/x-ndjson"}
#: A program cannot be heard before it is told to go on.
PATIENCE_S = 20


class Written:
    """A task of the judicator double, as it writes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._memory = site.judicator.memory
        self.id: TaskId = TaskId("")

    async def begin(self) -> None:
        task = a_task(lease=a_lease())
        await self._memory.tasks.insert_if_new([task])
        self.id = task.id

    async def write(
        self,
        data: bytes,
        offset: int = 0,
        channel: Channel = Channel.STDOUT,
        *,
        section: Section = EXECUTE,
        attempt: int = 1,
    ) -> None:
        source = Source(id=self.id, attempt=AttemptNo(attempt), section=section, channel=channel)
        await self._memory.live.put_live(
            [LiveChunk(source=source, offset=offset, at=START, data=data)]
        )
        await self._site.judicator.publish(LogGrew(task=self.id))

    async def end(self, kept: bytes, cut: StreamCut | None = None, attempt: int = 1) -> None:
        outcome = Outcome(
            ending=Ending.FAILED,
            reason=Reason.EXIT_NONZERO,
            stage=Stage.EXECUTE,
            execute=StageOutcome(reason=Reason.EXIT_NONZERO, exit_code=3, stdout_cut=cut),
            streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=len(kept), inline=kept)},
        )
        await self._memory.tasks.finish_if_attempt([finish_item(self.id, attempt, outcome)])
        await self._tell()

    async def retry(self, kept: bytes) -> None:
        outcome = Outcome(
            ending=Ending.FAILED,
            reason=Reason.EXIT_NONZERO,
            stage=Stage.EXECUTE,
            execute=StageOutcome(reason=Reason.EXIT_NONZERO, exit_code=3),
            streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=len(kept), inline=kept)},
        )
        item = RetryItem(id=self.id, attempt=AttemptNo(1), outcome=outcome, at=START)
        await self._memory.tasks.retry_if_attempt(item)
        await self._tell()

    async def begin_again(self) -> None:
        await self._memory.tasks.lease_if_queued([lease_item(self.id, 1)])
        await self._tell()

    async def cancel(self) -> None:
        await self._memory.tasks.cancel_if_open(self.id)
        await self._tell()

    async def lose(self) -> None:
        item = RequeueItem(
            id=self.id,
            attempt=AttemptNo(1),
            executor=ExecutorName("e1"),
            session=SessionNo(1),
            crash=True,
        )
        await self._memory.tasks.requeue_if_leased_by(item)
        await self.begin_again()

    async def _tell(self) -> None:
        brief = brief_of(await self._memory.tasks.get(self.id))
        await self._site.judicator.publish(TaskChanged(task=brief))

    def url(self, query: str = "") -> str:
        return self._site.url(f"/api/v2/tasks/{self.id}/logs{query}")


@pytest.fixture
async def task(site: Site) -> Written:
    written = Written(site)
    await written.begin()
    return written


async def records_of(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await answer.read()).splitlines()]


async def next_line(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            line = await answer.content.readline()
            assert line, "the stream ended"
            if json.loads(line) != {"event": "alive"}:
                found: dict[str, Any] = json.loads(line)
                return found


async def test_what_there_is_now(site: Site, task: Written) -> None:
    await task.write(b"warning\n", channel=Channel.STDERR, section=COMPILE)
    await task.write(b"out\n")
    await task.write(b"err\n", channel=Channel.STDERR)
    async with site.http.get(task.url()) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert await answer.read() == b"warning\nout\nerr\n"
    async with site.http.get(task.url("?stage=execute&stream=stderr"), headers=NDJSON) as answer:
        (record,) = await records_of(answer)
        assert record["text"] == "err\n"
        assert record["id"] == "1.execute.0.4"


async def test_a_follower_hears_what_is_written_next(site: Site, task: Written) -> None:
    async with site.http.get(task.url("?follow=true"), headers=NDJSON) as answer:
        await task.write(b"first\n")
        assert (await next_line(answer))["text"] == "first\n"
        await task.write(b"second\n", 6)
        assert (await next_line(answer))["text"] == "second\n"
        await task.end(b"first\nsecond\nlast\n")
        last, end = await next_line(answer), await next_line(answer)
        assert (last["text"], last["offset"]) == ("last\n", 13)
        assert end == {
            "event": "end",
            "id": "1.execute.18.0.end",
            "attempt": 1,
            "state": "failed",
            "reason": "exit_nonzero",
            "exit_code": 3,
        }
        assert await answer.content.read() == b""


async def test_an_event_source_goes_on_where_it_was_and_stops_at_the_end(
    site: Site, task: Written
) -> None:
    await task.end(b"0123456789")
    again = {**SSE, "Last-Event-ID": "1.execute.4.0"}
    async with site.http.get(task.url("?follow=true"), headers=again) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Accel-Buffering"] == "no"
        sent = (await answer.read()).decode()
    assert sent.startswith("retry: 2000\n\nid: 1.execute.10.0\nevent: chunk\n")
    assert '"text":"456789"' in sent
    last = sent.rstrip().splitlines()[-3]
    assert last == "id: 1.execute.10.0.end"
    over = {**SSE, "Last-Event-ID": "1.execute.10.0.end"}
    async with site.http.get(task.url("?follow=true"), headers=over) as answer:
        assert answer.status == 204


async def test_a_lost_attempt_and_the_one_after_it(site: Site, task: Written) -> None:
    async with site.http.get(task.url("?follow=true"), headers=NDJSON) as answer:
        await task.write(b"first try")
        assert (await next_line(answer))["text"] == "first try"
        await task.lose()
        assert await next_line(answer) == {
            "event": "attempt",
            "id": "2.compile.0.0",
            "attempt": 2,
        }
        await task.write(b"second try", attempt=2)
        found = await next_line(answer)
        assert (found["attempt"], found["offset"], found["text"]) == (2, 0, "second try")
    async with site.http.get(task.url("?attempt=1&follow=true")) as answer:
        assert await answer.read() == b"first try"


async def test_a_result_that_is_tried_again_does_not_end_a_log(site: Site, task: Written) -> None:
    await task.retry(b"first try")
    async with site.http.get(task.url("?follow=true"), headers=NDJSON) as answer:
        assert (await next_line(answer))["text"] == "first try"
        await task.begin_again()
        assert (await next_line(answer))["attempt"] == 2
        await task.end(b"second try", attempt=2)
        assert (await next_line(answer))["text"] == "second try"
        assert (await next_line(answer))["state"] == "failed"
    async with site.http.get(task.url("?attempt=1&follow=true")) as answer:
        assert await answer.read() == b"first try"


async def test_a_cancelled_task_ends_its_followers(site: Site, task: Written) -> None:
    async with site.http.get(task.url("?follow=true"), headers=NDJSON) as answer:
        await task.write(b"so far")
        await next_line(answer)
        await task.cancel()
        assert (await next_line(answer))["state"] == "cancelled"


async def test_a_gap_is_told(site: Site, task: Written) -> None:
    await task.end(b"headtail", StreamCut(seen_bytes=100, gap_at=4))
    async with site.http.get(task.url(), headers=NDJSON) as answer:
        head, gap, tail, end = await records_of(answer)
    assert (head["text"], gap["from"], gap["to"], tail["offset"]) == ("head", 4, 96, 96)
    assert end["event"] == "end"
    async with site.http.get(task.url()) as answer:
        assert await answer.read() == b"headtail"


@pytest.mark.parametrize(
    ("query", "header", "status", "body", "content_range"),
    [
        ("", None, 200, b"headtail", None),
        ("", "bytes=0-2", 206, b"hea", "bytes 0-2/8"),
        ("", "bytes=2-5", 206, b"adta", "bytes 2-5/8"),
        ("", "bytes=5-", 206, b"ail", "bytes 5-7/8"),
        ("", "bytes=-3", 206, b"ail", "bytes 5-7/8"),
        ("", "bytes=8-", 416, b"", "bytes */8"),
        ("&offset=2", None, 200, b"adtail", None),
        ("&offset=50", None, 200, b"tail", None),
        ("&offset=98&limit=1", None, 200, b"i", None),
        ("&offset=100", None, 200, b"", None),
        ("&limit=5", None, 200, b"headt", None),
    ],
)
async def test_a_part_of_one_output(
    site: Site,
    task: Written,
    query: str,
    header: str | None,
    status: int,
    body: bytes,
    content_range: str | None,
) -> None:
    """A range counts what was kept, an offset what was written."""
    await task.end(b"headtail", StreamCut(seen_bytes=100, gap_at=4))
    url = task.url(f"?stage=execute&stream=stdout{query}")
    headers = {"Range": header} if header else {}
    async with site.http.get(url, headers=headers) as answer:
        assert (answer.status, await answer.read()) == (status, body)
        assert answer.headers.get("Content-Range") == content_range
        length = answer.headers.get("Content-Length")
    async with site.http.head(url, headers=headers) as head:
        assert (head.status, head.headers.get("Content-Length")) == (status, length)


async def test_a_range_of_an_output_that_grows(site: Site, task: Written) -> None:
    await task.write(b"so far")
    url = task.url("?stage=execute&stream=stdout")
    async with site.http.get(url, headers={"Range": "bytes=3-"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"far")
        assert answer.headers["Content-Range"] == "bytes 3-5/*"


@pytest.mark.parametrize(
    ("lines", "text"),
    [(0, b""), (1, b"3\n"), (2, b"2\n3\n"), (3, b"1\n2\n3\n"), (99, b"1\n2\n3\n")],
)
async def test_the_last_lines(site: Site, task: Written, lines: int, text: bytes) -> None:
    await task.write(b"compiled\n", section=COMPILE)
    await task.write(b"1\n2\n")
    await task.write(b"3\n", 4)
    async with site.http.get(task.url(f"?tail={lines}")) as answer:
        assert await answer.read() == text


async def test_a_follower_of_the_last_lines_hears_the_next_ones(site: Site, task: Written) -> None:
    await task.write(b"1\n2\n")
    async with site.http.get(task.url("?tail=1&follow=true"), headers=NDJSON) as answer:
        assert (await next_line(answer))["text"] == "2\n"
        await task.write(b"3\n", 4)
        assert (await next_line(answer))["text"] == "3\n"


async def test_lines_with_their_time(site: Site, task: Written) -> None:
    await task.write(b"1\n2\n")
    async with site.http.get(task.url("?timestamps=true")) as answer:
        stamp = "2026-11-24T00:04:08.615Z"
        assert (await answer.text()) == f"{stamp} 1\n{stamp} 2\n"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?foo=1", "foo: no such parameter"),
        ("?attempt=0", "attempt: a whole number of at least 1 is needed; '0' was given"),
        ("?attempt=x", "attempt: a whole number is needed; 'x' was given"),
        ("?stage=run", "stage: "),
        ("?stream=stdin", "stream: one or more of stdout, stderr is needed; 'stdin'"),
        ("?offset=-1", "offset: a whole number of at least 0 is needed; '-1' was given"),
        ("?offset=5", "offset: needs one stage and one stream"),
        ("?limit=0", "limit: a whole number of at least 1 is needed; '0' was given"),
        ("?tail=10001", "tail: a whole number of at most 10000 is needed; '10001' was given"),
        ("?follow=yes", "follow: true or false is needed; 'yes' was given"),
        ("?after=5", "after: an id of this log is needed"),
        ("?case=1&stage=compile", "case: only the stage execute"),
    ],
)
async def test_bad_parameters(site: Site, task: Written, query: str, says: str) -> None:
    async with site.http.get(task.url(query)) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert answer.status == 400
        assert says in problem["detail"]
        assert problem["field"] == says.partition(":")[0]


async def test_an_attempt_that_there_was_not(site: Site, task: Written) -> None:
    for query in ("?attempt=2", "?attempt=2&stage=execute&stream=stdout"):
        async with site.http.get(task.url(query)) as answer:
            assert answer.status == 404


async def test_a_task_that_there_is_not(site: Site, task: Written) -> None:
    url = site.url("/api/v2/tasks/0123456789abcdef01234567/logs?follow=true")
    async with site.http.get(url) as answer:
        assert answer.status == 404


async def test_one_follower_too_many(
    site: Site, task: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LOG_FOLLOWERS > 100
    monkeypatch.setattr(v2_logs, "LOG_FOLLOWERS", 1)
    await task.write(b"x")
    async with site.http.get(task.url("?follow=true"), headers=NDJSON) as first:
        await next_line(first)
        async with site.http.get(task.url("?follow=true")) as second:
            assert second.status == 503
            assert "Retry-After" in second.headers
        async with site.http.get(task.url()) as other:  # does not wait for anything
            assert other.status == 200
    async with asyncio.timeout(PATIENCE_S):
        while True:  # the place of the first is free again
            async with site.http.get(task.url("?follow=true"), headers=NDJSON) as third:
                if third.status == 200:
                    return
            await asyncio.sleep(0.05)


async def test_a_reader_that_takes_nothing_is_disconnected(
    site: Site, task: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2_logs, "LOG_STALL_S", 0.2)
    size, piece = 0, b"x" * 60_000
    for _ in range(400):
        await task.write(piece, size)
        size += len(piece)
    host, _, port = site.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    path = task.url("?follow=true").removeprefix(site.base)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await asyncio.sleep(1.0)  # it reads nothing
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(PATIENCE_S):
            await reader.readexactly(size)
    writer.close()
