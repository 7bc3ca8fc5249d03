"""What attempts write is sent while they run: all of it, in order, and nothing for short ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import CASE_OUTPUT_BYTES, LIVE_CHUNK_BYTES, LIVE_REQUEST_BYTES
from khala.model.live import Channel, LiveChunk, Section
from khala.model.outcome import Bundle, Reason, StageOutcome, Stream, StreamCut
from khala.model.spec import Stage
from khala.protocol.executor import Run
from roles.executor.live import LiveAttempt, LiveOutput

COMPILE, EXECUTE = Section(Stage.COMPILE), Section(Stage.EXECUTE)
RUN: Run = (TaskId("6b04d4787d852fb9eb7f7a4e"), AttemptNo(1))


class Growing:
    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def read(self, offset: int, size_bytes: int) -> bytes:
        return self.data[offset : offset + size_bytes]


class Store:
    """Takes chunks, after the failures it is told to have."""

    def __init__(self) -> None:
        self.requests: list[list[LiveChunk]] = []
        self.stored: dict[tuple[Section, Channel], dict[int, bytes]] = {}
        self.failures: list[Exception] = []
        self.blocked: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def put_live(self, chunks: Sequence[LiveChunk]) -> None:
        self.requests.append(list(chunks))
        self.asked.set()
        if self.blocked is not None:
            await self.blocked.wait()
        failure = self.failures.pop(0) if self.failures else None
        if not isinstance(failure, Unavailable):  # in doubt: it was stored all the same
            for chunk in chunks:
                source = self.stored.setdefault((chunk.source.section, chunk.source.channel), {})
                source.setdefault(chunk.offset, chunk.data)
        if failure is not None:
            raise failure

    def text(self, section: Section = EXECUTE, channel: Channel = Channel.STDOUT) -> bytes:
        """As a reader finds it: up to the first byte that is missing."""
        found = b""
        stored = self.stored.get((section, channel), {})
        while len(found) in stored:
            found += stored[len(found)]
        return found


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[LiveOutput]:
    live = LiveOutput(store)
    task = asyncio.ensure_future(live.serve())
    try:
        yield live
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sent(store: Store) -> int:
    return sum(len(chunk.data) for request in store.requests for chunk in request)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_program_is_heard_while_it_runs(tmp_path: Path) -> None:
    store, stdout = Store(), Growing(b"first")
    async with serving(store) as live:
        live.open(RUN, tmp_path).began(EXECUTE, stdout, Growing(b"warned"))
        await until(lambda: store.text() == b"first")
        assert store.text(channel=Channel.STDERR) == b"warned"
        stdout.data += b", second"
        await until(lambda: store.text() == b"first, second")


async def test_a_short_program_sends_nothing(tmp_path: Path) -> None:
    store = Store()
    async with serving(store) as live:
        for number in range(20):
            run = (RUN[0], AttemptNo(number))
            live.open(run, tmp_path).began(EXECUTE, Growing(b"short"), Growing())
            await asyncio.sleep(0.01)
            live.close(run)
    assert store.requests == []


async def test_a_silent_program_sends_nothing(tmp_path: Path) -> None:
    store = Store()
    async with serving(store) as live:
        live.open(RUN, tmp_path).began(EXECUTE, Growing(), Growing())
        await asyncio.sleep(0.4)
    assert store.requests == []


@pytest.mark.parametrize("failure", [Unavailable("down"), OutcomeUnknown("who knows")])
async def test_the_same_chunk_is_repeated_until_it_is_stored(
    failure: Exception, tmp_path: Path
) -> None:
    """Were it longer the second time, what came on top would be lost with the first."""
    store, stdout = Store(), Growing(b"first")
    store.failures = [failure, failure]
    async with serving(store) as live:
        live.open(RUN, tmp_path).began(EXECUTE, stdout, Growing())
        await store.asked.wait()
        stdout.data += b", second"
        await until(lambda: store.text() == b"first, second")
    assert [[chunk.data for chunk in each] for each in store.requests] == [
        *[[b"first"]] * 3,
        [b", second"],
    ]


async def test_a_section_is_sent_when_the_one_before_it_is_stored(tmp_path: Path) -> None:
    store = Store()
    store.blocked = asyncio.Event()
    (tmp_path / Stream.COMPILE_OUTPUT).write_bytes(b"compiled")
    (tmp_path / Stream.COMPILE_ERROR).write_bytes(b"warned")
    async with serving(store) as live:
        attempt = live.open(RUN, tmp_path)
        attempt.ended(COMPILE, StageOutcome(reason=Reason.OK, stdout_bytes=8, stderr_bytes=6))
        attempt.began(EXECUTE, Growing(b"running"), Growing())
        await store.asked.wait()
        await asyncio.sleep(0.2)
        assert {chunk.source.section for chunk in store.requests[0]} == {COMPILE}
        assert len(store.requests) == 1
        store.blocked.set()
        await until(lambda: store.text() == b"running")
    assert store.text(COMPILE) == b"compiled"
    assert store.text(COMPILE, Channel.STDERR) == b"warned"


async def test_the_end_of_a_cut_output_keeps_its_offset(tmp_path: Path) -> None:
    store = Store()
    (tmp_path / Stream.COMPILE_OUTPUT).write_bytes(b"headtail")
    (tmp_path / Stream.COMPILE_ERROR).write_bytes(b"")
    cut = StreamCut(seen_bytes=1000, gap_at=4)
    async with serving(store) as live:
        attempt = live.open(RUN, tmp_path)
        attempt.ended(COMPILE, StageOutcome(reason=Reason.OK, stdout_bytes=8, stdout_cut=cut))
        attempt.began(EXECUTE, Growing(b"x"), Growing())
        await until(lambda: store.text() == b"x")
    assert store.stored[COMPILE, Channel.STDOUT] == {0: b"head", 996: b"tail"}


async def test_a_flood_is_sent_in_bounded_requests_one_at_a_time(tmp_path: Path) -> None:
    store = Store()
    data = bytes(5 * LIVE_REQUEST_BYTES // 2)
    under_way = most = 0

    class Counting(Store):
        async def put_live(self, chunks: Sequence[LiveChunk]) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            await super().put_live(chunks)
            under_way -= 1

    store = Counting()
    async with serving(store) as live:
        for number in (1, 2):
            run = (RUN[0], AttemptNo(number))
            live.open(run, tmp_path).began(EXECUTE, Growing(data), Growing())
        await until(lambda: sent(store) == 2 * len(data))
    assert most == 1
    for request in store.requests:
        assert sum(len(chunk.data) for chunk in request) <= LIVE_REQUEST_BYTES
        assert all(len(chunk.data) <= LIVE_CHUNK_BYTES for chunk in request)
    # Neither waits for the other's flood to end.
    assert {chunk.source.attempt for chunk in store.requests[0]} == {1, 2}


async def test_an_attempt_without_a_result_leaves_all_it_wrote(tmp_path: Path) -> None:
    store = Store()
    async with serving(store) as live:
        live.open(RUN, tmp_path).began(EXECUTE, Growing(b"last words"), Growing())
        await live.store_rest(RUN)
        assert store.text() == b"last words"
        live.close(RUN)


async def test_the_rest_is_not_waited_for_without_end(tmp_path: Path) -> None:
    store = Store()
    store.blocked = asyncio.Event()
    async with serving(store) as live:
        live.open(RUN, tmp_path).began(EXECUTE, Growing(b"last words"), Growing())
        async with asyncio.timeout(10):
            await live.store_rest(RUN)


async def test_a_closed_attempt_is_not_repeated(tmp_path: Path) -> None:
    store = Store()
    store.failures = [Unavailable("down")]
    async with serving(store) as live:
        live.open(RUN, tmp_path).began(EXECUTE, Growing(b"gone"), Growing())
        await store.asked.wait()
        live.close(RUN)
        other = (RUN[0], AttemptNo(2))
        live.open(other, tmp_path).began(EXECUTE, Growing(b"next"), Growing())
        await until(lambda: store.text() == b"next")


def test_sections_of_an_attempt_come_in_their_order(tmp_path: Path) -> None:
    attempt = LiveAttempt(RUN, tmp_path)
    attempt.began(COMPILE, Growing(b"c"), Growing())
    attempt.began(EXECUTE, Growing(b"e"), Growing())
    now = attempt.began_at + 1.0
    assert [output.source.section for output in attempt.due(now)] == [COMPILE]
    assert attempt.due(attempt.began_at) == []


# ---- cases ----------------------------------------------------------------------------------


def case(number: int) -> Section:
    return Section(Stage.EXECUTE, number)


def ran(stdout: int, stderr: int = 0, cut: StreamCut | None = None) -> StageOutcome:
    return StageOutcome(reason=Reason.OK, stdout_bytes=stdout, stderr_bytes=stderr, stdout_cut=cut)


async def test_a_case_is_heard_while_it_runs_and_goes_on_in_the_file_of_all(tmp_path: Path) -> None:
    store = Store()
    async with serving(store) as live:
        attempt = live.open(RUN, tmp_path)
        attempt.began(case(1), Growing(b"one"), Growing())
        await until(lambda: store.text(case(1)) == b"one")
        # Over, and the next one writes into the same files.
        (tmp_path / Bundle.CASES).write_bytes(b"one, endoops")
        attempt.case_ended(case(1), ran(8, 4), 0)
        second = Growing(b"two")
        attempt.began(case(2), second, Growing())
        await until(lambda: store.text(case(2)) == b"two")
        assert store.text(case(1)) == b"one, end"
        assert store.text(case(1), Channel.STDERR) == b"oops"
        second.data += b" and a half"
        await until(lambda: store.text(case(2)) == b"two and a half")


async def test_short_cases_of_a_long_task_are_heard_in_their_order(tmp_path: Path) -> None:
    """None of them runs for as long as a program must that is shown."""
    store, count = Store(), 12
    async with serving(store) as live:
        attempt = live.open(RUN, tmp_path)
        for number in range(1, count + 1):
            attempt.began(case(number), Growing(), Growing())
            with open(tmp_path / Bundle.CASES, "ab") as file:
                file.write(b"%02d" % number)
            attempt.case_ended(case(number), ran(2), 2 * (number - 1))
            await asyncio.sleep(0.02)
        await until(lambda: store.text(case(count)) == b"12")
    assert [request[0].source.section.case for request in store.requests] == [*range(1, count + 1)]
    assert len(attempt.sections) <= 1


async def test_of_a_case_no_more_is_sent_than_is_kept(tmp_path: Path) -> None:
    store, flood = Store(), b"x" * (3 * CASE_OUTPUT_BYTES)
    async with serving(store) as live:
        attempt = live.open(RUN, tmp_path)
        attempt.began(case(1), Growing(flood), Growing())
        await until(lambda: len(store.text(case(1))) == CASE_OUTPUT_BYTES)
        (tmp_path / Bundle.CASES).write_bytes(flood[:CASE_OUTPUT_BYTES])
        cut = StreamCut(seen_bytes=len(flood), gap_at=CASE_OUTPUT_BYTES)
        attempt.case_ended(case(1), ran(CASE_OUTPUT_BYTES, cut=cut), 0)
        attempt.began(case(2), Growing(b"next"), Growing())
        await until(lambda: store.text(case(2)) == b"next")
    assert sent(store) == CASE_OUTPUT_BYTES + len(b"next")


async def test_cases_that_are_cancelled_leave_all_they_wrote(tmp_path: Path) -> None:
    """More of them than a second has room for, were each one to wait for the next."""
    store, count = Store(), 60
    async with serving(store) as live:
        attempt = live.open(RUN, tmp_path)
        (tmp_path / Bundle.CASES).write_bytes(b"x" * count)
        for number in range(1, count + 1):
            attempt.began(case(number), Growing(), Growing())
            attempt.case_ended(case(number), ran(1), number - 1)
        await live.store_rest(RUN)
        assert all(store.text(case(number)) == b"x" for number in range(1, count + 1))
