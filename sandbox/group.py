"""What limits and measures the processes of one stage: the same few calls in every mode.

A stage does not know how its host groups processes. It makes a leaf, puts its jail in, sets the
limits (now, or when an idling jail is given its task), asks what was used, and removes the leaf
when it is empty. A leaf is never used twice: not all counters of the kernel can be reset.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from khala.model.enforcement import Mode
from khala.model.spec import StageLimits

#: Processes of a leaf that are not the task's: nsjail itself and the first process of the jail.
OWN_PIDS = 2


class Usage(Struct, frozen=True, kw_only=True):
    """What a leaf counted in its life."""

    cpu_ns: int
    cpu_user_ns: int
    memory_peak_bytes: int
    #: Processes killed because memory ran out, here or on the whole host.
    oom_kills: int
    #: Processes of the command, the two of the jail not counted; None if nobody counted.
    pids_peak: int | None
    #: Forks refused because of the limit.
    pids_refused: int


class Leaf(Protocol):
    """The processes of one stage. Everything raises OSError when the host's files fail."""

    @property
    def name(self) -> str: ...

    def create(self) -> None:
        """Make it, without limits. Raises Unavailable if the slot's last one of that name is in
        use; `try_remove` cleans up in any case."""

    def limit(self, limits: StageLimits) -> None:
        """Set the limits, once, before or after the jail was put in. What idles in it then must
        be well below them."""

    def attach(self, pid: int) -> None:
        """Move a child of this process in; one that is gone already is nobody's problem. May
        take 20 ms, so not on the event loop."""

    def cpu_ns(self) -> int:
        """Processor time so far; cheap, for polling."""

    def oom_kills(self) -> int:
        """Out-of-memory kills so far; cheap, for polling."""

    def usage(self) -> Usage: ...

    def processes(self) -> list[int]:
        """Host pids of everything in it; empty when it does not exist."""

    def kill_all(self) -> None:
        """SIGKILL everything in it and let nothing be forked any more. Call until it is empty."""

    def try_remove(self) -> bool:
        """Remove it and what it holds open; False while something in it is not quite dead."""


class Tree(Protocol):
    """Where one sandbox makes its leaves; locked as long as it or its guardian lives."""

    mode: Mode
    #: Held by the guardian too, so that no successor starts jails which it would then kill.
    lock_fd: int
    #: What works less well here than it could, for the log.
    warnings: tuple[str, ...]

    def leaf(self, name: str) -> Leaf: ...

    def guardian(self, work_root: str) -> list[str]:
        """A shell program and its arguments: see `host`. Empty where none is needed."""

    def close(self) -> None:
        """Let go of the lock. Needs all leaves to be removed."""
