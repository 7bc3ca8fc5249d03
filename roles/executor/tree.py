"""A work directory that is copied into several boxes: as it was when its copy was made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from khala.model.limits import CACHE_ENTRY_BYTES
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome
from khala.model.spec import Stage
from roles.executor.attempt import Attempt
from sandbox import Box, Snapshot

_TREE = "tree"
NOT_COPIED = (
    "what the compile stage left cannot be given to every case: there are pipes, sockets or extra"
    " attributes in it, or more files and bytes than can be copied"
)


@dataclass(frozen=True, slots=True)
class Tree:
    """A work directory and `/tmp`, to be put into other boxes."""

    snapshot: Snapshot
    #: Of the bytes of its files.
    fd: int

    async def fill(self, box: Box) -> None:
        """Raises OSError."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        await box.restore(self.snapshot, self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)


async def copy_tree(attempt: Attempt, box: Box) -> Tree | None:
    """None if there is something in the box that cannot be copied."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(attempt.folder / _TREE, flags, 0o600)
    try:
        most = max(CACHE_ENTRY_BYTES, attempt.room[0])
        snapshot = await box.capture(fd, frozenset(), most)
    except BaseException:
        os.close(fd)
        raise
    if snapshot is None:
        os.close(fd)
        return None
    return Tree(snapshot, fd)


def not_copied(compiled: StageOutcome | None) -> Outcome:
    """How a task ends whose work directory cannot be copied."""
    return Outcome(
        ending=Ending.ERROR,
        reason=Reason.BAD_INPUT,
        stage=Stage.COMPILE,
        compile=compiled,
        note=NOT_COPIED,
    )
