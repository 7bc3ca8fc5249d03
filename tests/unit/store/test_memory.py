"""What a simulation needs of the memory store beyond the shared cases of tests/store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from khala.model.blob import NewBlob, UploadId, name_of
from khala.model.errors import InvariantBroken, NotFound
from khala.model.ids import TaskId, id_date, mint_task_id
from khala.store.dates import to_ms
from khala.store.memory import MemoryStore, run_now

NAME = name_of(b"x")


def test_statements_run_without_a_loop() -> None:
    store = MemoryStore()
    assert run_now(store.dispatch.find_queued("", 9, 0.0)) == []
    with pytest.raises(NotFound):
        run_now(store.dispatch.get(mint_task_id()))


def test_what_suspends_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="suspended"):
        run_now(asyncio.sleep(0))


def test_dates_come_from_the_given_clock() -> None:
    """A simulation that starts in 1970 must not look decades old to the sweep, nor the reverse."""
    now = datetime(1970, 1, 3, tzinfo=UTC)
    store = MemoryStore(wall=lambda: now)
    upload = UploadId("00000000" + "ab" * 8)
    run_now(store.blobs.put_chunk(upload, 0, b"x"))
    run_now(store.blobs.collect(timedelta(days=3)))
    assert run_now(store.blobs.add_if_new(NewBlob(name=NAME, size_bytes=1, upload=upload)))
    assert run_now(store.blobs.collect(timedelta(0))) == 0
    now += timedelta(days=1)
    assert run_now(store.blobs.collect(timedelta(hours=23))) == 1


def test_milliseconds_survive_and_nothing_finer() -> None:
    east = timezone(timedelta(hours=3))
    date = datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=east)
    assert to_ms(date) == datetime(2026, 1, 1, 9, 0, 0, 123_000, tzinfo=UTC)
    assert to_ms(date).tzinfo is UTC


def test_an_id_tells_when_it_was_minted() -> None:
    assert id_date(TaskId("00000e10" + "ab" * 8)) == datetime(1970, 1, 1, 1, tzinfo=UTC)
