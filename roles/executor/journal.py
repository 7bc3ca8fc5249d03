"""The started-journal: which attempts this executor has ever begun.

Rule R1: an attempt is written here, and the disk has said so, before its first process starts.
After a crash nobody can know how far an attempt came; without this file an Assign that is sent
again would start it a second time under the same number, and two different results could claim
to be that attempt's.

One line per attempt, appended; a torn last line (power cut) belongs to an attempt that never
started. Attempts whose end the store has confirmed can never be assigned again, so they are
dropped when the file is rewritten.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from khala.model.ids import AttemptNo, TaskId
from khala.protocol.executor import Run

#: The file is rewritten when this many of its lines are of no use any more (about 3 MB).
RETIRED_LINES_MAX = 100_000


class Journal:
    """Append and remember; `append` returns when the line is on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = _load(path)
        self._retired = 0
        self._rewrite()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    def __contains__(self, run: Run) -> bool:
        return run in self._started

    async def append(self, run: Run) -> None:
        """Raise `OSError` if the line cannot be written; the attempt must not start then."""
        self._started.add(run)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((_line(run), done))
        self._wake.set()
        try:
            await done
        except OSError:
            self._started.discard(run)
            raise

    def retire(self, run: Run) -> None:
        """The store has confirmed the end of the attempt."""
        if run in self._started:
            self._started.discard(run)
            self._retired += 1

    async def serve(self) -> None:
        """Group commit: one fdatasync for everything that arrived while the last one ran."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            if not batch:
                continue
            try:
                await asyncio.to_thread(self._commit, b"".join(line for line, _ in batch))
            except OSError as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(OSError(error.errno, str(error)))
                continue
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    def _commit(self, lines: bytes) -> None:
        os.write(self._file, lines)
        os.fdatasync(self._file)
        if self._retired > RETIRED_LINES_MAX:
            self._rewrite()
            os.close(self._file)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _rewrite(self) -> None:
        self._retired = 0
        fresh = self._path.with_suffix(".new")
        with open(fresh, "wb") as file:
            file.writelines(_line(run) for run in sorted(self._started.copy()))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _line(run: Run) -> bytes:
    return f"{run[0]} {run[1]}\n".encode()


def _load(path: Path) -> set[Run]:
    try:
        text = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        return set()
    runs: set[Run] = set()
    for line in text.splitlines():
        task, _, attempt = line.partition(" ")
        if len(task) == 24 and attempt.isdigit():
            runs.add((TaskId(task), AttemptNo(int(attempt))))
    return runs
