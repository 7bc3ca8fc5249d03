"""The end of a jail: by force, after its task was asked to end where that is given time.

Killing takes the first process of the jail, nsjail's only child: the kernel then ends the whole
PID namespace at once, stopped processes and daemons included, and nsjail reaps it and exits. Only
when that takes too long is everything in the cgroup killed one by one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from khala.model.errors import Unavailable
from sandbox.group import Leaf

_STEP_S = 0.02
#: A jail with hundreds of processes may take more than a second to die; nsjail is not killed
#: earlier, because it would leave zombies to whoever is process 1.
_GENTLY_S = 5.0
_EMPTY_S = 10.0
_EMPTY_STEP_S = 0.005
#: Each of them needs a descriptor meanwhile.
_ASKED_AT_ONCE = 64


class Killer:
    """Kills one jail, step by step on the loop, until `over` is done."""

    def __init__(self, leaf: Leaf, pid: int, pidfd: int, over: asyncio.Future[None]) -> None:
        """`pid` and `pidfd` are nsjail's; the descriptor stays the caller's, who closes it only
        after `close`."""
        self._leaf = leaf
        self._pid = pid
        self._pidfd = pidfd
        self._over = over
        self._began_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Call once."""
        self._began_at = time.monotonic()
        self._step()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _step(self) -> None:
        if self._over.done():
            return
        if time.monotonic() - self._began_at > _GENTLY_S:
            self._leaf.kill_all()
        jail = children_of(self._pid)
        with suppress(ProcessLookupError):
            for child in jail:
                os.kill(child, signal.SIGKILL)
            # Without a child it has not made the jail yet, or is about to exit. With one, the
            # signal wakes it, should it have missed that of its child's death.
            signal.pidfd_send_signal(self._pidfd, signal.SIGALRM if jail else signal.SIGKILL)
        self._timer = self._over.get_loop().call_later(_STEP_S, self._step)


def ask_to_end(leaf: Leaf, ours: Collection[int]) -> None:
    """Send SIGTERM, once, to the processes of a task, which are all of the leaf but `ours`.

    A process that waits for others, and has not said what it does then (`trap`), would die of the
    signal before these had ended; a shell that runs a command would take the jail along. So it is
    left out, and goes on when the others are gone.
    """
    theirs = [pid for pid in leaf.processes() if pid not in ours and not _waits(pid)]
    for begin in range(0, len(theirs), _ASKED_AT_ONCE):
        _terminate(leaf, theirs[begin : begin + _ASKED_AT_ONCE])


def _terminate(leaf: Leaf, pids: Sequence[int]) -> None:
    """A number that was given to a process elsewhere meanwhile is not one of the leaf's then."""
    fds: dict[int, int] = {}
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                fds[pid] = os.pidfd_open(pid)
        for pid in fds.keys() & set(leaf.processes()):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fds[pid], signal.SIGTERM)
    finally:
        for fd in fds.values():
            os.close(fd)


def _waits(pid: int) -> bool:
    return bool(children_of(pid)) and not _catches_term(pid)


def _catches_term(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt:"))
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return False
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


async def empty(leaf: Leaf) -> None:
    """Return when no process is left in it, or raise Unavailable. Normally a single look; more
    when nsjail was killed and its jail lives on."""
    deadline = time.monotonic() + _EMPTY_S
    while leaf.processes():
        if time.monotonic() > deadline:
            raise Unavailable(f"the processes of {leaf.name} cannot be killed")
        leaf.kill_all()
        await asyncio.sleep(_EMPTY_STEP_S)


def children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [int(child) for child in children.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
