"""Live output, on MongoDB and on the dictionary: each byte once, under its own attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from khala.model.ids import AttemptNo, TaskId, mint_task_id
from khala.model.live import Channel, LiveChunk, Section, Source
from khala.model.spec import Stage
from khala.store.dates import to_ms, utc_now
from tests.store.conftest import Store
from tests.store.samples import a_lease, a_task, finish_item

NOW = to_ms(utc_now())
ALREADY = timedelta(seconds=-2)
COMPILE, EXECUTE = Section(Stage.COMPILE), Section(Stage.EXECUTE)


def source_of(
    task: TaskId, attempt: int = 1, section: Section = EXECUTE, channel: Channel = Channel.STDOUT
) -> Source:
    return Source(id=task, attempt=AttemptNo(attempt), section=section, channel=channel)


def chunk(source: Source, offset: int, data: bytes) -> LiveChunk:
    return LiveChunk(source=source, offset=offset, at=NOW, data=data)


async def text_of(store: Store, source: Source) -> bytes:
    return b"".join(each.data for each in await store.live.read_live(source, 0, 1 << 20))


@pytest.mark.parametrize(
    ("offset", "found"),
    [
        (0, [b"abc", b"de", b"f"]),
        (1, [b"abc", b"de", b"f"]),
        (3, [b"de", b"f"]),
        (5, [b"f"]),
        (6, []),
    ],
)
async def test_reading_begins_with_the_chunk_of_the_offset(
    store: Store, offset: int, found: list[bytes]
) -> None:
    source = source_of(mint_task_id())
    await store.live.put_live([chunk(source, 3, b"de"), chunk(source, 0, b"abc")])
    await store.live.put_live([chunk(source, 5, b"f")])
    read = await store.live.read_live(source, offset, 100)
    assert [each.data for each in read] == found
    assert all(each.source == source and each.at == NOW for each in read)


async def test_reading_ends_with_the_chunk_that_fills_it(store: Store) -> None:
    source = source_of(mint_task_id())
    await store.live.put_live([chunk(source, 10 * n, b"x" * 10) for n in range(50)])
    assert [each.offset for each in await store.live.read_live(source, 5, 21)] == [0, 10, 20]
    assert len(await store.live.read_live(source, 0, 10_000)) == 50


async def test_what_was_stored_first_stays(store: Store) -> None:
    source = source_of(mint_task_id())
    await store.live.put_live([chunk(source, 0, b"first")])
    await store.live.put_live([chunk(source, 0, b"second"), chunk(source, 5, b" and more")])
    assert await text_of(store, source) == b"first and more"


async def test_attempts_sections_and_channels_do_not_mix(store: Store) -> None:
    task = mint_task_id()
    sources = [
        source_of(id_, attempt, section, channel)
        for id_ in (task, mint_task_id())
        for attempt in (1, 2)
        for section in (COMPILE, EXECUTE, Section(Stage.EXECUTE, 1), Section(Stage.EXECUTE, 2))
        for channel in Channel
    ]
    for number, source in enumerate(sources):
        await store.live.put_live([chunk(source, 0, b"%d" % number)])
    assert [await text_of(store, source) for source in sources] == [
        b"%d" % number for number in range(len(sources))
    ]


async def test_a_later_section_is_seen(store: Store) -> None:
    task, first, second = mint_task_id(), AttemptNo(1), AttemptNo(2)
    await store.live.put_live([chunk(source_of(task, section=COMPILE), 0, b"c")])
    assert not await store.live.has_live(task, first, COMPILE)
    await store.live.put_live([chunk(source_of(task, channel=Channel.STDERR), 0, b"e")])
    assert await store.live.has_live(task, first, COMPILE)
    assert not await store.live.has_live(task, first, EXECUTE)
    assert not await store.live.has_live(task, second, COMPILE)


async def test_the_end_is_known(store: Store) -> None:
    source = source_of(mint_task_id())
    assert await store.live.end_of_live(source) == 0
    await store.live.put_live([chunk(source, 0, b"abc"), chunk(source, 3, b"de")])
    assert await store.live.end_of_live(source) == 5


async def test_an_attempt_is_dropped_as_a_whole_and_alone(store: Store) -> None:
    task = mint_task_id()
    first, second = source_of(task, 1), source_of(task, 2)
    for source in (first, second, source_of(task, 1, COMPILE, Channel.STDERR)):
        await store.live.put_live([chunk(source, 0, b"x"), chunk(source, 1, b"y")])
    await store.live.drop_live([(task, AttemptNo(1))])
    assert await text_of(store, first) == b""
    assert not await store.live.has_live(task, AttemptNo(1), Section(Stage.COMPILE))
    assert await text_of(store, second) == b"xy"


async def test_a_recorded_attempt_is_swept_and_a_lost_one_is_kept(store: Store) -> None:
    task = a_task(lease=a_lease())
    await store.tasks.insert_if_new([task])
    sources = [source_of(task.id, 1), source_of(task.id, 2)]
    for source in sources:
        await store.live.put_live([chunk(source, 0, b"x")])
    assert await store.live.collect_orphans(ALREADY) == 0
    await store.tasks.finish_if_attempt([finish_item(task.id, 1)])
    assert await store.live.collect_orphans(timedelta(hours=1)) == 0
    assert await store.live.collect_orphans(ALREADY) == 1
    assert [await text_of(store, source) for source in sources] == [b"", b"x"]


async def test_what_a_cancelled_task_wrote_is_kept(store: Store) -> None:
    task = a_task(lease=a_lease())
    await store.tasks.insert_if_new([task])
    await store.live.put_live([chunk(source_of(task.id), 0, b"x")])
    await store.tasks.cancel_if_open(task.id)
    assert await store.live.collect_orphans(ALREADY) == 0


async def test_chunks_of_no_task_are_swept(store: Store) -> None:
    source = source_of(mint_task_id())
    await store.live.put_live([chunk(source, 0, b"x"), chunk(source, 1, b"y")])
    assert await store.live.collect_orphans(timedelta(hours=1)) == 0
    assert await store.live.collect_orphans(ALREADY) == 2


async def test_bytes_of_any_kind_come_back(store: Store) -> None:
    source = source_of(mint_task_id())
    data = bytes(range(256)) * 256
    await store.live.put_live([replace(chunk(source, 0, data), data=data)])
    assert await text_of(store, source) == data
