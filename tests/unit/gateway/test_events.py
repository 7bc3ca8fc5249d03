"""The event stream over HTTP, and what `khala.client` makes of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from khala.client import AsyncKhala, EventQuery, Khala
from khala.model.ids import JobId, TaskId, mint_task_id
from khala.model.spec import Member
from khala.protocol.rpc import TaskChanged
from khala.protocol.v2 import EventHello, EventQueue, EventReset, EventTask
from tests.unit.gateway.conftest import Site, config_of, running
from tests.unit.gateway.double import hang_up
from tests.unit.gateway.test_event_log import BRIEF

NDJSON = {"Accept": "application/x-ndjson"}
PATIENCE_S = 60.0
#: A few of these are more than sockets hold.
LONG = "n" * 4096


@pytest.fixture
async def told(site: Site) -> Site:
    """A site whose gateway hears the judicator."""
    async with asyncio.timeout(PATIENCE_S):
        while not site.judicator.listeners:
            await asyncio.sleep(0.02)
    return site


async def publish(site: Site, **fields: Any) -> TaskId:
    task = mint_task_id()
    await site.judicator.publish(TaskChanged(task=replace(BRIEF, id=task, **fields)))
    return task


async def lines(
    site: Site, query: str = "", headers: dict[str, str] = NDJSON
) -> AsyncGenerator[dict[str, Any], None]:
    async with site.http.get(site.url(f"/api/v2/events{query}"), headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "application/x-ndjson"
        async for line in response.content:
            yield json.loads(line)


async def test_a_stream_goes_on_where_it_was(told: Site) -> None:
    async with asyncio.timeout(PATIENCE_S), aclosing(lines(told, "?topics=tasks")) as first:
        hello = await anext(first)
        assert hello["event"] == "hello"
        sent = [await publish(told) for _ in range(3)]
        heard = [await anext(first) for _ in sent]
    assert [each["data"]["id"] for each in heard] == sent
    later = await publish(told)
    resumes = (
        (f"?topics=tasks&after={heard[1]['id']}", NDJSON, [*sent[2:], later]),
        ("?topics=tasks", {**NDJSON, "Last-Event-ID": heard[0]["id"]}, [*sent[1:], later]),
        (f"?topics=tasks&after={hello['id']}", NDJSON, [*sent, later]),
    )
    for query, headers, expected in resumes:
        async with asyncio.timeout(PATIENCE_S), aclosing(lines(told, query, headers)) as again:
            assert (await anext(again))["event"] == "hello"
            assert [(await anext(again))["data"]["id"] for _ in expected] == expected


async def test_a_stream_of_another_gateway_begins_with_a_reset(
    told: Site, secret_file: Path
) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        running(config_of(secret_file, told.judicator.address)) as other,
        AsyncKhala(other) as khala,
        aclosing(khala.events()) as events,
    ):
        place = (await anext(events)).id
    async with (
        asyncio.timeout(PATIENCE_S),
        AsyncKhala(told.base) as khala,
        aclosing(khala.events(EventQuery(after=place))) as events,
    ):
        assert isinstance(await anext(events), EventHello)
        assert isinstance(await anext(events), EventReset)


async def test_whoever_could_not_be_heard_may_have_done_something(told: Site) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        AsyncKhala(told.base) as khala,
        aclosing(khala.events(EventQuery(topics=("tasks",)))) as events,
    ):
        assert isinstance(await anext(events), EventHello)
        before = await publish(told)
        first = await anext(events)
        assert isinstance(first, EventTask)
        assert first.data.id == before
        await hang_up(told.judicator)
        assert isinstance(await anext(events), EventReset)
        while not told.judicator.listeners:
            await asyncio.sleep(0.02)
        after = await publish(told)
        while not isinstance(event := await anext(events), EventTask):
            assert isinstance(event, EventReset)
        assert event.data.id == after


async def test_who_narrows_the_stream_hears_of_no_other(told: Site) -> None:
    job = JobId("7" * 24)
    query = EventQuery(topics=("tasks", f"job:{job}"), user=7, labels={"hw": "3"})
    async with (
        asyncio.timeout(PATIENCE_S),
        AsyncKhala(told.base) as khala,
        aclosing(khala.events(query)) as events,
    ):
        assert isinstance(await anext(events), EventHello)
        await publish(told, user=8, labels={"hw": "3"})
        await publish(told, user=7, labels={"hw": "4"})
        own = await publish(told, user=7, labels={"hw": "3", "set": "a"})
        member = await publish(told, user=8, member=Member(job=job, index=3))
        for expected in (own, member):
            event = await anext(events)
            assert isinstance(event, EventTask)
            assert event.data.id == expected


async def test_the_load_of_the_cluster(told: Site) -> None:
    def first_load() -> EventQueue:
        with Khala(told.base) as khala:
            for event in khala.events(EventQuery(topics=("queue",))):
                if isinstance(event, EventQueue):
                    return event
        raise AssertionError("the stream ended")

    async with asyncio.timeout(PATIENCE_S):
        load = (await asyncio.to_thread(first_load)).data
    assert (load.queued, load.running, load.slots, load.free) == (1, 2, 4, 3)


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("?after=7", {}, "after"),
        ("", {"Last-Event-ID": "yesterday"}, "Last-Event-ID"),
        ("?topics=jobs", {}, "topics"),
        ("?user=x", {}, "user"),
        ("?label=hw", {}, "label"),
        ("?topics=nodes&user=7", {}, "user"),
        ("?since=7", {}, "since"),
    ],
)
async def test_what_is_refused(site: Site, query: str, headers: dict[str, str], field: str) -> None:
    async with site.http.get(site.url(f"/api/v2/events{query}"), headers=headers) as response:
        assert response.status == 400
        problem = json.loads(await response.read())
    assert problem["field"] == field
    assert field in problem["detail"]


@asynccontextmanager
async def raw_stream(base: str) -> AsyncIterator[asyncio.StreamReader]:
    """One that nobody reads unless the test does: what the sockets hold, and no more."""
    host, port = base.removeprefix("http://").split(":")
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
    small.connect((host, int(port)))
    reader, writer = await asyncio.open_connection(sock=small, limit=2**12)
    writer.write(
        b"GET /api/v2/events?topics=tasks HTTP/1.1\r\nHost: localhost\r\n"
        b"Accept: application/x-ndjson\r\n\r\n"
    )
    try:
        await reader.readuntil(b"\r\n\r\n")
        yield reader
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_reader_that_takes_nothing_is_disconnected(
    told: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roles.gateway.v2_events.EVENT_STALL_S", 0.2)
    async with asyncio.timeout(2 * PATIENCE_S), raw_stream(told.base) as stalled:
        while await _stalled(told) < 1:
            for _ in range(100):
                await publish(told, name=LONG)
        with suppress(ConnectionError):
            while await stalled.read(2**20):
                pass  # what was on its way


async def _stalled(site: Site) -> float:
    async with site.http.get(site.url("/metrics")) as response:
        text = await response.text()
    [line] = [each for each in text.splitlines() if each.startswith("khala_event_stalled_total")]
    return float(line.split()[-1])
