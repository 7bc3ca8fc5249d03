"""Logs, on the memory store: what is read before and after the end of an attempt is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from khala.model.cases import Case
from khala.model.errors import NotFound
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId
from khala.model.limits import OUTPUT_CHUNK_BYTES
from khala.model.live import Channel, Kept, LiveChunk, Section, Source
from khala.model.outcome import (
    CaseOutcome,
    Ending,
    Outcome,
    Reason,
    StageOutcome,
    Stream,
    StreamCut,
    StreamRef,
)
from khala.model.spec import Stage
from khala.model.statements import ChunkItem, RequeueItem, RetryItem
from khala.model.task import brief_of
from khala.protocol.rpc import LogView, ReadLog
from khala.store.memory import MemoryStore, run_now
from roles.judicator.logs import LiveRuns, Logs
from tests.store.samples import SUCCESS, a_lease, a_task, finish_item, lease_item
from tests.unit.gateway.double import START

COMPILE, EXECUTE = Section(Stage.COMPILE), Section(Stage.EXECUTE)


class Rig:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.logs = Logs(self.store.tasks, self.store.outputs, self.store.live, lambda _: None)
        task = a_task(lease=a_lease())
        run_now(self.store.tasks.insert_if_new([task]))
        self.task: TaskId = task.id

    def write(
        self, data: bytes, offset: int = 0, *, section: Section = EXECUTE, attempt: int = 1
    ) -> None:
        source = Source(
            id=self.task, attempt=AttemptNo(attempt), section=section, channel=Channel.STDOUT
        )
        chunk = LiveChunk(source=source, offset=offset, at=START, data=data)
        run_now(self.store.live.put_live([chunk]))

    def finish(self, outcome: Outcome, attempt: int = 1) -> None:
        run_now(self.store.tasks.finish_if_attempt([finish_item(self.task, attempt, outcome)]))

    def lose(self) -> None:
        """The attempt; and lease the next one."""
        item = RequeueItem(
            id=self.task,
            attempt=AttemptNo(1),
            executor=ExecutorName("e1"),
            session=SessionNo(1),
            crash=True,
        )
        run_now(self.store.tasks.requeue_if_leased_by(item))
        run_now(self.store.tasks.lease_if_queued([lease_item(self.task, 1)]))

    def read(
        self, offset: int = 0, *, section: Section = EXECUTE, attempt: int | None = None
    ) -> LogView:
        query = ReadLog(
            attempt=AttemptNo(attempt) if attempt else None,
            section=section,
            offsets={Channel.STDOUT: offset},
        )
        return run_now(self.logs.read(self.task, query))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def recorded(kept: bytes, cut: StreamCut | None = None) -> Outcome:
    return Outcome(
        ending=Ending.SUCCEEDED,
        reason=Reason.OK,
        stage=Stage.EXECUTE,
        execute=StageOutcome(reason=Reason.OK, exit_code=0, stdout_cut=cut),
        streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=len(kept), inline=kept)},
    )


def texts(view: LogView) -> list[tuple[int, bytes]]:
    return [(piece.offset, piece.data) for piece in view.pieces]


def test_a_running_attempt_is_read_and_not_complete(rig: Rig) -> None:
    rig.write(b"abc")
    rig.write(b"de", 3)
    view = rig.read(1)
    assert texts(view) == [(1, b"bc"), (3, b"de")]
    assert not view.complete
    assert not view.ended
    assert texts(rig.read(5)) == []


def test_bytes_behind_one_that_is_on_its_way_are_not_shown(rig: Rig) -> None:
    rig.write(b"late", 5)
    assert texts(rig.read()) == []
    rig.write(b"first")
    assert texts(rig.read()) == [(0, b"first"), (5, b"late")]


def test_a_section_is_complete_when_the_next_one_has_begun(rig: Rig) -> None:
    rig.write(b"warning", section=COMPILE)
    rig.write(b"tail", 100, section=COMPILE)
    assert not rig.read(section=COMPILE).complete
    rig.write(b"running")
    view = rig.read(section=COMPILE)
    assert view.complete
    assert texts(view) == [(0, b"warning"), (100, b"tail")]


def test_the_result_takes_over_at_the_same_offset(rig: Rig) -> None:
    rig.write(b"abc")
    rig.finish(recorded(b"abcdef"))
    run_now(rig.store.live.drop_live([(rig.task, AttemptNo(1))]))
    view = rig.read(3)
    assert texts(view) == [(3, b"def")]
    assert (view.complete, view.ended, view.exit_code) == (True, True, 0)


def test_a_lost_attempt_stays_readable_and_apart(rig: Rig) -> None:
    rig.write(b"first")
    rig.lose()
    rig.write(b"second", attempt=2)
    assert texts(rig.read()) == [(0, b"second")]
    lost = rig.read(attempt=1)
    assert texts(lost) == [(0, b"first")]
    assert (lost.complete, lost.ended, lost.newest) == (True, True, 2)
    rig.finish(recorded(b"second and all"), attempt=2)
    assert texts(rig.read(attempt=1)) == [(0, b"first")]
    assert texts(rig.read()) == [(0, b"second and all")]


def test_what_an_overtaken_attempt_still_writes_is_its_own(rig: Rig) -> None:
    rig.write(b"first")
    rig.lose()
    rig.write(b", late", 5)
    assert texts(rig.read()) == []
    assert texts(rig.read(attempt=1)) == [(0, b"first"), (5, b", late")]


def test_an_attempt_that_there_was_not(rig: Rig) -> None:
    with pytest.raises(NotFound, match="has had 1 attempts, 2 was asked for"):
        rig.read(attempt=2)


def test_a_cancelled_task_shows_how_far_it_came(rig: Rig) -> None:
    rig.write(b"so far")
    run_now(rig.store.tasks.cancel_if_open(rig.task))
    view = rig.read()
    assert texts(view) == [(0, b"so far")]
    assert view.complete


def test_an_output_in_chunks_is_read_from_the_middle(rig: Rig) -> None:
    data = bytes(range(251)) * (3 * OUTPUT_CHUNK_BYTES // 251)
    for n in range(3):
        piece = data[n * OUTPUT_CHUNK_BYTES : (n + 1) * OUTPUT_CHUNK_BYTES]
        item = ChunkItem(
            id=rig.task, attempt=AttemptNo(1), stream=Stream.EXECUTE_OUTPUT, n=n, data=piece
        )
        run_now(rig.store.outputs.put_chunks([item]))
    outcome = recorded(b"")
    outcome.streams[Stream.EXECUTE_OUTPUT] = StreamRef(size_bytes=len(data))
    rig.finish(outcome)
    at = OUTPUT_CHUNK_BYTES + 7
    read = b""
    while True:
        view = rig.read(at + len(read))
        read += b"".join(piece.data for piece in view.pieces)
        if view.complete:
            break
    assert read == data[at:]


@given(seen=st.integers(0, 60), limit=st.integers(1, 40), start=st.integers(0, 70))
def test_a_cut_output_is_read_with_its_gap(seen: int, limit: int, start: int) -> None:
    written = bytes(range(seen))
    size = min(seen, limit)
    gap_at = size - size // 2
    tail = written[seen - size // 2 :] if seen > limit else b""
    kept = written[:gap_at] + tail if seen > limit else written
    cut = StreamCut(seen_bytes=seen, gap_at=gap_at) if seen > limit else None
    rig = Rig()
    rig.finish(recorded(kept, cut))
    at, read = start, []
    while True:
        view = rig.read(at)
        for piece in view.pieces:
            read += [(piece.offset + n, byte) for n, byte in enumerate(piece.data)]
            at = piece.end
        if view.complete:
            break
    there = [*range(gap_at), *range(seen - len(tail), seen)] if cut else [*range(seen)]
    assert read == [(n, n) for n in there if n >= start]
    assert view.ends == {Channel.STDOUT: seen}


@given(size=st.integers(0, 30), seen=st.integers(0, 60), gap=st.integers(0, 30))
def test_every_kept_byte_has_one_place(size: int, seen: int, gap: int) -> None:
    cut = StreamCut(seen_bytes=seen, gap_at=min(gap, size)) if seen > size else None
    kept = Kept(size, cut)
    positions: list[int] = []
    at = 0
    while (found := kept.find(at)).size_bytes:
        positions += range(found.position, found.position + found.size_bytes)
        assert found.offset >= at
        at = found.offset + found.size_bytes
    assert positions == [*range(size)]


async def test_chunks_go_when_their_result_is_recorded_and_not_before(
    monkeypatch: pytest.MonkeyPatch, rig: Rig
) -> None:
    dropped: list[tuple[TaskId, AttemptNo]] = []

    async def drop(runs: list[tuple[TaskId, AttemptNo]]) -> None:
        dropped.extend(runs)

    monkeypatch.setattr(rig.store.live, "drop_live", drop)
    runs = LiveRuns(rig.store.live)
    rig.write(b"abc")
    runs.stored([chunk for each in rig.store.live._state.live.values() for chunk in each.values()])
    runs.changed(brief_of(await rig.store.tasks.get(rig.task)))
    await runs.drop()
    assert dropped == []
    rig.finish(SUCCESS)
    runs.changed(brief_of(await rig.store.tasks.get(rig.task)))
    await runs.drop()
    await runs.drop()
    assert dropped == [(rig.task, AttemptNo(1))]


async def test_chunks_of_a_cancelled_task_stay(rig: Rig) -> None:
    runs = LiveRuns(rig.store.live)
    rig.write(b"abc")
    runs.stored([chunk for each in rig.store.live._state.live.values() for chunk in each.values()])
    runs.changed((await rig.store.tasks.cancel_if_open(rig.task)).brief)
    await runs.drop()
    assert texts(rig.read()) == [(0, b"abc")]


def test_what_an_attempt_wrote_that_was_tried_again_stays_readable(rig: Rig) -> None:
    outcome = Outcome(
        ending=Ending.FAILED,
        reason=Reason.EXIT_NONZERO,
        stage=Stage.EXECUTE,
        execute=StageOutcome(reason=Reason.EXIT_NONZERO, exit_code=1, stdout_bytes=5),
        streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=5, inline=b"first")},
    )
    item = RetryItem(id=rig.task, attempt=AttemptNo(1), outcome=outcome, at=START)
    assert run_now(rig.store.dispatch.retry_if_attempt(item))
    run_now(rig.store.tasks.lease_if_queued([lease_item(rig.task, 1)]))
    rig.write(b"second", attempt=2)
    read = rig.read(attempt=1)
    assert [piece.data for piece in read.pieces] == [b"first"]
    assert (read.complete, read.ended, read.newest) == (True, True, 2)
    assert [piece.data for piece in rig.read().pieces] == [b"second"]


# ---- cases ----------------------------------------------------------------------------------


def case(number: int) -> Section:
    return Section(Stage.EXECUTE, number)


def judged(*outputs: bytes) -> Outcome:
    """A result with the outputs of cases, of each the stdout and one byte of stderr."""
    kept = b"".join(each + b"!" for each in outputs)
    return Outcome(
        ending=Ending.SUCCEEDED,
        reason=Reason.OK,
        stage=Stage.EXECUTE,
        execute=StageOutcome(reason=Reason.OK, exit_code=0),
        cases=tuple(
            CaseOutcome(
                execute=StageOutcome(reason=Reason.OK, stdout_bytes=len(each), stderr_bytes=1)
            )
            for each in outputs
        ),
        case_outputs=StreamRef(size_bytes=len(kept), inline=kept),
    )


@pytest.fixture
def with_cases() -> Rig:
    rig = Rig()
    task = a_task(lease=a_lease())
    cases = tuple(Case(name=name) for name in "abc")
    task = replace(task, spec=replace(task.spec, cases=cases))
    run_now(rig.store.tasks.insert_if_new([task]))
    rig.task = task.id
    return rig


def test_a_case_is_complete_when_a_later_one_has_begun(with_cases: Rig) -> None:
    rig = with_cases
    rig.write(b"one", section=case(1))
    view = rig.read(section=case(1))
    assert (texts(view), view.complete, view.cases) == ([(0, b"one")], False, 3)
    # The second one said nothing at all.
    rig.write(b"three", section=case(3))
    assert rig.read(section=case(1)).complete
    assert rig.read(section=case(2)).complete
    assert not rig.read(section=case(3)).complete


def test_the_result_of_a_case_takes_over_at_the_same_offset(with_cases: Rig) -> None:
    rig = with_cases
    rig.write(b"2b", section=case(2))
    rig.finish(judged(b"first", b"2bend", b""))
    view = rig.read(2, section=case(2))
    assert (texts(view), view.complete) == ([(2, b"end")], True)
    assert texts(rig.read(section=case(1))) == [(0, b"first")]
    last = rig.read(section=case(3))
    assert (texts(last), last.complete) == ([], True)


def test_a_case_that_there_is_not(rig: Rig, with_cases: Rig) -> None:
    with pytest.raises(NotFound, match="has cases 1 to 3, 4 was asked for"):
        with_cases.read(section=case(4))
    with pytest.raises(NotFound, match="has no cases, 1 was asked for"):
        rig.read(section=case(1))
