"""A lane of the committer, with statements that fail as they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from khala.model.errors import OutcomeUnknown, TooLarge, Unavailable
from khala.store import committer
from khala.store.committer import Lane


class Recorder:
    """A statement that doubles numbers, once `gate` is open."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.faults: list[Exception] = []

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        if len(items) > 1 and -1 in items:
            raise TooLarge("one of these")
        return [TooLarge("-1") if item == -1 else 2 * item for item in items]


@asynccontextmanager
async def running(statement: Recorder, workers: int = 1) -> AsyncIterator[Lane[int, int]]:
    lane = Lane[int, int]("test", statement, lambda item: item)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(lane.run()) for _ in range(workers)]
        yield lane
        for task in tasks:
            task.cancel()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_idle_lane_sends_at_once() -> None:
    statement = Recorder()
    async with running(statement) as lane:
        assert await lane.submit(1) == 2
        assert await lane.submit(2) == 4
    assert statement.batches == [[1], [2]]


async def test_arrivals_during_a_flush_make_up_the_next_batch() -> None:
    statement = Recorder()
    async with running(statement) as lane:
        statement.gate.clear()
        first = lane.submit(0)
        await settled()
        others = [lane.submit(item) for item in range(1, 6)]
        await settled()
        assert statement.batches == [[0]]
        assert not lane.idle
        statement.gate.set()
        assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10]
        await settled()
        assert lane.idle
    assert statement.batches == [[0], [1, 2, 3, 4, 5]]


async def test_at_most_as_many_flushes_as_workers() -> None:
    statement = Recorder()
    statement.gate.clear()
    async with running(statement, workers=2) as lane:
        answers = []
        for item in range(4):
            answers.append(lane.submit(item))
            await settled()
        assert statement.batches == [[0], [1]]
        statement.gate.set()
        await asyncio.gather(*answers)


async def test_batches_are_bounded_by_items_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "LANE_BATCH_ITEMS", 3)
    monkeypatch.setattr(committer, "LANE_BATCH_BYTES", 100)
    statement = Recorder()
    async with running(statement) as lane:
        await asyncio.gather(*(lane.submit(item) for item in (1, 2, 3, 4, 90, 11, 500, 1)))
    assert statement.batches == [[1, 2, 3], [4, 90], [11], [500], [1]]


async def test_a_full_lane_refuses_before_anything_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer, "LANE_QUEUE_ITEMS", 2)
    statement = Recorder()
    statement.gate.clear()
    async with running(statement) as lane:
        sent = lane.submit(0)
        await settled()
        queued = [lane.submit(item) for item in (1, 2)]
        with pytest.raises(Unavailable, match="2 test operations"):
            lane.submit(3)
        statement.gate.set()
        assert await asyncio.gather(sent, *queued) == [0, 2, 4]


async def test_an_item_that_makes_its_batch_impossible_fails_alone() -> None:
    statement = Recorder()
    async with running(statement) as lane:
        answers = await asyncio.gather(
            *(lane.submit(item) for item in (1, -1, 3)), return_exceptions=True
        )
    assert isinstance(answers.pop(1), TooLarge)
    assert answers == [2, 6]


async def test_a_failed_command_is_repeated() -> None:
    statement = Recorder()
    statement.faults = [Unavailable(), OutcomeUnknown()]
    async with running(statement) as lane:
        assert await lane.submit(4) == 8
    assert statement.batches == [[4]] * 3


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([Unavailable("no primary")], Unavailable),
        ([OutcomeUnknown("lost"), Unavailable("no primary")], OutcomeUnknown),
    ],
    ids=str,
)
async def test_one_doubtful_try_makes_the_outcome_unknown(
    faults: list[Exception], expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "COMMIT_DEADLINE_S", 0.2)
    # Several tries before the deadline, on a busy machine too: the last message is then known.
    monkeypatch.setattr(committer, "_BACKOFF_S", 0.001)
    monkeypatch.setattr(committer, "_BACKOFF_MAX_S", 0.01)
    statement = Recorder()
    statement.faults = [*faults, *(Unavailable("no primary") for _ in range(99))]
    async with running(statement) as lane:
        with pytest.raises(expected, match="no primary"):
            await lane.submit(1)


async def test_an_item_whose_caller_left_is_not_sent() -> None:
    statement = Recorder()
    statement.gate.clear()
    async with running(statement) as lane:
        first = lane.submit(0)
        await settled()
        left, stayed = lane.submit(1), lane.submit(2)
        left.cancel()
        statement.gate.set()
        assert [await first, await stayed] == [0, 4]
    assert statement.batches == [[0], [2]]


async def test_stopping_leaves_nobody_waiting() -> None:
    statement = Recorder()
    statement.gate.clear()
    async with running(statement) as lane:
        sent = lane.submit(0)
        await settled()
        queued = lane.submit(1)
    with pytest.raises(OutcomeUnknown, match="stopping"):
        await sent
    with pytest.raises(Unavailable, match="stopping"):
        await queued
    with pytest.raises(Unavailable, match="stopping"):
        lane.submit(2)


async def test_a_fault_of_the_statement_ends_the_lane() -> None:
    statement = Recorder()
    statement.faults = [RuntimeError("a bug")]
    lane = Lane[int, int]("test", statement, lambda item: item)
    answer = lane.submit(1)
    with pytest.raises(RuntimeError, match="a bug"):
        await lane.run()
    with pytest.raises(OutcomeUnknown):
        await answer
    with pytest.raises(Unavailable):
        lane.submit(2)
