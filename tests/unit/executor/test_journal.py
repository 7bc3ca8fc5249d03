"""The started-journal: on the disk before `append` returns, and back after any end."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from khala.model.ids import AttemptNo, TaskId
from khala.protocol.executor import Run
from roles.executor import journal as module
from roles.executor.journal import Journal


def run_of(number: int) -> Run:
    return TaskId(f"{number:024x}"), AttemptNo(1)


async def appended(journal: Journal, *numbers: int) -> None:
    serving = asyncio.ensure_future(journal.serve())
    try:
        await asyncio.gather(*(journal.append(run_of(number)) for number in numbers))
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_attempts_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await appended(Journal(path), *range(100))
    again = Journal(path)
    assert all(run_of(number) in again for number in range(100))
    assert run_of(100) not in again


async def test_attempts_that_ended_for_good_are_dropped_by_the_next_life(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    await appended(journal, 1, 2)
    journal.retire(run_of(1))
    assert run_of(1) not in journal
    assert run_of(2) in Journal(path)


async def test_torn_last_line_is_an_attempt_that_never_started(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await appended(Journal(path), 1)
    with open(path, "ab") as file:
        file.write(b"00000000000000000")
    again = Journal(path)
    assert run_of(1) in again
    assert path.read_bytes() == f"{run_of(1)[0]} 1\n".encode()


async def test_file_is_rewritten_when_most_of_it_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETIRED_LINES_MAX", 10)
    path = tmp_path / "journal"
    journal = Journal(path)
    for number in range(30):
        await appended(journal, number)
        journal.retire(run_of(number))
    await appended(journal, 1000)
    assert len(path.read_bytes().splitlines()) <= 12
    assert run_of(1000) in Journal(path)


async def test_attempt_must_not_start_when_the_disk_refuses_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(tmp_path / "journal")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(OSError, match="No space"):
            await appended(journal, 1)
    assert run_of(1) not in journal
