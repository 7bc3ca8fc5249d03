"""Group commit: many callers' transitions in few database commands.

A command costs the same third of a millisecond of processor time and the same journal wait for
one update as for a hundred, so updates that wait anyway travel together. One lane per kind of
transition, natural batching: an idle lane sends at once; while `LANE_FLUSHES` commands are under
way, arrivals wait and make up the next batch. No timer: a single item is never delayed, and
batches grow with load until they keep up.

What a caller may rely on:

- Its item gets its own answer or its own error; a neighbour's failure is not its failure.
- A failed command is repeated until the item's deadline, which is safe because statements are
  repeatable and their answer says what stands, whichever try did it.
- After the deadline, when the last try has ended: `Unavailable` if no try can have taken effect,
  else `OutcomeUnknown`.
- A full lane is `Unavailable` at once, before anything happened.
- A caller that goes away withdraws an item that was not sent yet, and no more than that: it does
  not close the connection that carries its neighbours.

Payload bytes never pass here. Outputs have a lane of their own, and so has what is stored of them
while tasks run: a chatty task cannot delay another's result.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from khala.model.errors import KhalaError, OutcomeUnknown, Unavailable
from khala.model.limits import (
    COMMIT_DEADLINE_S,
    LANE_BATCH_BYTES,
    LANE_BATCH_ITEMS,
    LANE_FLUSHES,
    LANE_QUEUE_ITEMS,
    STORE_TIMEOUT_S,
)
from khala.model.live import LiveChunk
from khala.model.statements import (
    AcceptResult,
    ChunkItem,
    FinishItem,
    FinishResult,
    LeaseItem,
    NewTask,
    ProgressItem,
)
from khala.store.protocols import LiveStore, OutputStore, TaskStore

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_STOPPING = "this judicator is stopping"
#: Pause before the n-th repetition: a random part of this, doubled each time up to the maximum.
_BACKOFF_S = 0.05
_BACKOFF_MAX_S = 1.0
#: A document or an update without its inline bytes, for the size of a batch.
_BASE_BYTES = 1536
#: An artifact in the list of them, without its name.
_FILE_BYTES = 128


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Answer]):
    item: Item
    size_bytes: int
    #: Event-loop time.
    deadline: float
    future: asyncio.Future[Answer]
    #: A try may have taken effect.
    doubt: bool = False

    def answer(self, answer: Answer | BaseException) -> None:
        if self.future.done():
            return  # its caller went away
        if isinstance(answer, BaseException):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)

    def give_up(self, why: str) -> None:
        kind = OutcomeUnknown if self.doubt else Unavailable
        self.answer(kind(why))


class Lane(Generic[Item, Answer]):
    """One kind of transition: a bounded queue and the workers that empty it."""

    def __init__(
        self,
        name: str,
        statement: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        size_bytes: Callable[[Item], int],
    ) -> None:
        self._name = name
        self._statement = statement
        self._size_bytes = size_bytes
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._flushing = 0
        self._stopped = False
        #: Told of each batch that left: its items, and the seconds until all had their answer.
        self.observe: Callable[[int, float], None] = lambda items, seconds: None

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Queue `item`; raise `Unavailable` if the lane is full or has stopped."""
        if self._stopped:
            raise Unavailable(_STOPPING)
        if len(self._queue) >= LANE_QUEUE_ITEMS:
            raise Unavailable(
                f"{LANE_QUEUE_ITEMS} {self._name} operations are waiting for MongoDB, which is the"
                " limit; retry later"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        deadline = loop.time() + COMMIT_DEADLINE_S
        self._queue.append(_Waiting(item, self._size_bytes(item), deadline, future))
        self._arrived.set()
        return future

    @property
    def name(self) -> str:
        return self._name

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        return not self._queue and not self._flushing

    async def run(self) -> None:
        """Flush batches for ever; run `LANE_FLUSHES` of these. Cancelled or broken, it leaves
        nobody waiting, and the lane takes nothing more."""
        try:
            while True:
                await self._serve()
        finally:
            self._stopped = True
            for waiting in self._queue:
                waiting.give_up(_STOPPING)
            self._queue.clear()

    async def _serve(self) -> None:
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        batch = self._take()
        self._flushing += 1
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            await self._flush(batch)
            self.observe(len(batch), clock() - started)
        except BaseException:
            for waiting in batch:
                waiting.doubt = True
                waiting.give_up(_STOPPING)
            raise
        finally:
            self._flushing -= 1

    def _take(self) -> list[_Waiting[Item, Answer]]:
        batch: list[_Waiting[Item, Answer]] = []
        size_bytes = 0
        while self._queue and len(batch) < LANE_BATCH_ITEMS:
            size_bytes += self._queue[0].size_bytes
            if batch and size_bytes > LANE_BATCH_BYTES:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _flush(self, batch: list[_Waiting[Item, Answer]]) -> None:
        """Repeat the statement until every item of the batch has its answer or no time left."""
        clock = asyncio.get_running_loop().time
        pause_s = _BACKOFF_S
        why = "MongoDB did not answer in time"
        while True:
            for waiting in batch:
                if waiting.deadline <= clock():
                    waiting.give_up(why)
            batch = [waiting for waiting in batch if not waiting.future.done()]
            if not batch:
                return
            try:
                batch = await self._try(batch)
            except KhalaError as error:
                why = error.message
            if batch:
                await asyncio.sleep(random.uniform(0, pause_s))
                pause_s = min(2 * pause_s, _BACKOFF_MAX_S)

    async def _try(self, batch: list[_Waiting[Item, Answer]]) -> list[_Waiting[Item, Answer]]:
        """One command. Return the items that need another one; raise if all do."""
        last = max(waiting.deadline for waiting in batch)
        try:
            # A statement ends by itself, and then says whether anything was sent; this is for one
            # that does not.
            async with asyncio.timeout_at(last + 2 * STORE_TIMEOUT_S):
                answers = await self._statement([waiting.item for waiting in batch])
        except Unavailable:
            raise
        except (OutcomeUnknown, TimeoutError) as error:
            for waiting in batch:
                waiting.doubt = True
            raise OutcomeUnknown(str(error) or None) from error
        except KhalaError as error:
            await self._isolate(batch, error)
            return []
        return _settle(batch, answers)

    async def _isolate(self, batch: list[_Waiting[Item, Answer]], error: KhalaError) -> None:
        """One item made the whole command impossible: send each alone to find it."""
        if len(batch) == 1:
            batch[0].answer(error)
            return
        for waiting in batch:
            await self._flush([waiting])


def _settle(
    batch: list[_Waiting[Item, Answer]], answers: Sequence[Answer | Exception]
) -> list[_Waiting[Item, Answer]]:
    again: list[_Waiting[Item, Answer]] = []
    for waiting, answer in zip(batch, answers, strict=True):
        if isinstance(answer, OutcomeUnknown | Unavailable):
            waiting.doubt |= isinstance(answer, OutcomeUnknown)
            again.append(waiting)
        else:
            waiting.answer(answer)
    return again


class Committer:
    """`Lanes` in batches. Works only while `run` runs."""

    def __init__(self, tasks: TaskStore, outputs: OutputStore, live: LiveStore) -> None:
        async def progress(items: Sequence[ProgressItem]) -> list[None]:
            await tasks.progress_if_leased(items)
            return [None] * len(items)

        async def output(items: Sequence[ChunkItem]) -> list[None]:
            await outputs.put_chunks(items)
            return [None] * len(items)

        async def put_live(items: Sequence[LiveChunk]) -> list[None]:
            await live.put_live(items)
            return [None] * len(items)

        self._accept = Lane[NewTask, AcceptResult]("accept", tasks.insert_if_new, _new_task_bytes)
        self._lease = Lane[LeaseItem, bool]("lease", tasks.lease_if_queued, lambda _: _BASE_BYTES)
        self._finish = Lane[FinishItem, FinishResult](
            "finish", tasks.finish_if_attempt, _finish_bytes
        )
        self._progress = Lane[ProgressItem, None]("progress", progress, lambda _: _BASE_BYTES)
        self._output = Lane[ChunkItem, None]("output", output, lambda chunk: len(chunk.data))
        self._live = Lane[LiveChunk, None]("live", put_live, lambda chunk: len(chunk.data))

    @property
    def lanes(self) -> tuple[Lane[Any, Any], ...]:
        return (
            self._accept,
            self._lease,
            self._finish,
            self._progress,
            self._output,
            self._live,
        )

    async def run(self) -> None:
        """Serve the lanes until cancelled. A fault of a statement ends it with that fault."""
        async with asyncio.TaskGroup() as group:
            for lane in self.lanes * LANE_FLUSHES:
                group.create_task(lane.run())

    async def drain(self, deadline_s: float) -> bool:
        """Wait until nothing is queued or under way; False if that takes longer."""
        try:
            async with asyncio.timeout(deadline_s):
                while not all(lane.idle for lane in self.lanes):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False
        return True

    async def accept(self, item: NewTask) -> AcceptResult:
        return await self._accept.submit(item)

    async def lease(self, item: LeaseItem) -> bool:
        return await self._lease.submit(item)

    async def finish(self, item: FinishItem) -> FinishResult:
        return await self._finish.submit(item)

    async def progress(self, item: ProgressItem) -> None:
        await self._progress.submit(item)

    async def output(self, item: ChunkItem) -> None:
        await self._output.submit(item)

    async def live(self, item: LiveChunk) -> None:
        await self._live.submit(item)


def _new_task_bytes(item: NewTask) -> int:
    return _BASE_BYTES + sum(len(ref.inline or b"") for ref in item.spec.parts.values())


def _finish_bytes(item: FinishItem) -> int:
    inline = sum(len(ref.inline or b"") for ref in item.outcome.streams.values())
    artifacts = item.outcome.artifacts
    listed = artifacts.files if artifacts is not None else ()
    return _BASE_BYTES + inline + sum(_FILE_BYTES + len(file.name) for file in listed)
