"""What a gateway is told of a task's end: all of it, as long as that is little."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import EVENT_TASK_BYTES
from khala.model.outcome import ArtifactRef, Artifacts, Outcome, Stream, StreamRef
from khala.model.spec import Part, PartRef
from khala.model.task import Dispatch, Task, brief_of
from khala.protocol.rpc import Event, TaskChanged
from roles.judicator.events import Events
from tests.unit.core.desk import DONE, SPEC
from tests.unit.gateway.double import START

_decode = msgspec.msgpack.Decoder(list[Event]).decode


class Gateway:
    """A socket whose far end listens."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def recv(self) -> str | bytes | None:
        await asyncio.sleep(3600)
        return None

    async def send(self, message: bytes) -> None:
        self.frames.put_nowait(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        pass


def task_with(input_bytes: int = 0, output_bytes: int = 0, outcome: Outcome | None = DONE) -> Task:
    given = PartRef(size_bytes=input_bytes, sha256="0" * 64, inline=b"i" * input_bytes)
    kept = StreamRef(size_bytes=output_bytes, inline=b"o" * output_bytes)
    if outcome is not None:
        outcome = msgspec.structs.replace(outcome, streams={Stream.EXECUTE_OUTPUT: kept})
    return Task(
        id=TaskId("6b04d4787d852fb9eb7f7a4e"),
        spec=msgspec.structs.replace(SPEC, parts={Part.EXECUTE_INPUT: given}),
        dispatch=Dispatch.DONE if outcome else Dispatch.LEASED,
        attempt=AttemptNo(1),
        crashes=0,
        submitted_at=START,
        updated_at=START,
        outcome=outcome,
        result_attempt=AttemptNo(1) if outcome else None,
    )


async def heard(task: Task, found: Task | None) -> TaskChanged:
    events, gateway = Events(lambda _: found), Gateway()
    serving = asyncio.ensure_future(events.serve(gateway))
    await asyncio.sleep(0)
    try:
        events.publish_task(brief_of(task))
        async with asyncio.timeout(5):
            (event,) = _decode(await gateway.frames.get())
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert isinstance(event, TaskChanged)
    return event


async def test_the_end_of_a_small_task_brings_it_along() -> None:
    task = task_with(EVENT_TASK_BYTES // 2, EVENT_TASK_BYTES // 2)
    assert await heard(task, task) == TaskChanged(task=brief_of(task), ended=task)


@pytest.mark.parametrize("sizes", [(EVENT_TASK_BYTES + 1, 0), (0, EVENT_TASK_BYTES + 1)])
async def test_a_larger_one_is_asked_for(sizes: tuple[int, int]) -> None:
    task = task_with(*sizes)
    assert await heard(task, task) == TaskChanged(task=brief_of(task))


async def test_so_is_one_with_many_variables_or_artifacts() -> None:
    task = task_with()
    spec = msgspec.structs.replace(task.spec, environment={"A": "x" * EVENT_TASK_BYTES})
    file = ArtifactRef(name=b"n", size_bytes=1, sha256=b"s" * 32, crc32=0, modified_s=0)
    artifacts = Artifacts(chunk_bytes=1, files=(file,) * (EVENT_TASK_BYTES // 32))
    for large in (
        msgspec.structs.replace(task, spec=spec),
        msgspec.structs.replace(task, outcome=msgspec.structs.replace(DONE, artifacts=artifacts)),
    ):
        assert await heard(large, large) == TaskChanged(task=brief_of(large))


async def test_so_is_one_that_only_the_store_has() -> None:
    task = task_with()
    assert await heard(task, None) == TaskChanged(task=brief_of(task))


async def test_an_open_task_is_only_hinted_at() -> None:
    task = task_with(outcome=None)
    assert await heard(task, task) == TaskChanged(task=brief_of(task))
