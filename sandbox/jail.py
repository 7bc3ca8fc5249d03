"""One jail for one stage: made before its task is known, told to go once, never used again.

Making a jail takes some ten milliseconds (nsjail's start, namespaces, mounts, the policy), and none
of it depends on the task. So it is done ahead: the jail then waits in its cgroup, and from `go` to
the end of a trivial command it takes two or three. A jail that is made on demand goes through the
same two calls.

A jail that ends before it was told to go says nothing about a task: nothing of one was in it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import time
from contextlib import ExitStack, suppress

from khala.model.limits import MIB
from sandbox import nsjail
from sandbox.folders import write_all
from sandbox.group import Leaf
from sandbox.job import Job
from sandbox.killing import Killer, ask_to_end, children_of, empty
from sandbox.orders import orders_for
from sandbox.output import Output
from sandbox.written import Written

_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC
#: Readable by /dev/stdin and by the first shell; ours, so that the task cannot make it more.
_READABLE = 0o444
#: Where tasks run as the service's own user, its files would be theirs to change.
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_FEED_BYTES = 8 * MIB


class NoRoom(Exception):
    """The limit of memory is below what the jail itself uses."""


class Jail:
    """Made in any thread; then `watch` gives it to the running loop, which does the rest."""

    def __init__(self, place: nsjail.Place, leaf: Leaf) -> None:
        """Blocks for some milliseconds. Raises OSError, or Unavailable from the leaf."""
        self.leaf = leaf
        self._place = place
        with ExitStack() as undo:
            undo.callback(leaf.try_remove)
            leaf.create()
            closing = undo.enter_context(ExitStack())
            self._make(closing)
            self._closing = closing.pop_all()
            undo.pop_all()
        #: Processor time that making it took; no task is charged for it.
        self.spent_ns = self.spent_user_ns = 0
        self.wait_status = 0
        self.ended_at = 0.0
        self._first_pid = 0

    def _make(self, closing: ExitStack) -> None:
        self._stdin = _memory("stdin", closing)
        self._orders = _memory("orders", closing)
        self.outputs = (Output(self._place.uid), Output(self._place.uid))
        for output in self.outputs:
            closing.callback(output.close)
        self._gate, theirs = socket.socketpair()
        closing.callback(self._gate.close)
        with theirs, ExitStack() as copies:
            stdin, orders = (_read_only(fd, copies) for fd in (self._stdin, self._orders))
            self._child = nsjail.start(
                self._place,
                self.leaf,
                nsjail.Channels(
                    stdin=stdin,
                    stdout=self.outputs[0].write_fd,
                    stderr=self.outputs[1].write_fd,
                    gate=theirs.fileno(),
                    orders=orders,
                ),
            )
        closing.callback(self._child.close)
        self.written = Written(self._child)
        self.written.begin()
        self._child.open_gate()
        for output in self.outputs:
            output.close_write_end()
        self._gate.setblocking(False)

    # ---- in the loop ------------------------------------------------------------------------

    def watch(self) -> None:
        """Call once, in the loop that uses it from now on; `close` undoes it."""
        self._loop = asyncio.get_running_loop()
        #: Done when it waits to be told to go, and when it will never do so.
        self.ready: asyncio.Future[None] = self._loop.create_future()
        #: Done when nsjail is reaped.
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.killer = Killer(self.leaf, self._child.pid, self._child.pidfd, self.over)
        self._loop.add_reader(self._gate.fileno(), self._on_gate)
        self._loop.add_reader(self._child.pidfd, self._on_exit)

    @property
    def waits(self) -> bool:
        """Whether it can be told to go."""
        return self._first_pid != 0 and not self.over.done()

    def _on_gate(self) -> None:
        self._loop.remove_reader(self._gate.fileno())
        if not self._gate.recv(64):
            return  # nsjail is gone, which is noticed by itself
        with suppress(OSError, ValueError):  # killed at this very moment
            (first_pid,) = children_of(self._child.pid)
            nsjail.spare(self._child.pid)
            usage = self.leaf.usage()
            self.spent_ns, self.spent_user_ns = usage.cpu_ns, usage.cpu_user_ns
            self._first_pid = first_pid
        self._set(self.ready)

    def _on_exit(self) -> None:
        self.ended_at = time.monotonic()
        self._loop.remove_reader(self._child.pidfd)
        self.written.count(())
        with suppress(ChildProcessError):  # reaped by others: nsjail's log has to do
            _, self.wait_status = os.waitpid(self._child.pid, 0)
        self._set(self.over)
        self._set(self.ready)

    @staticmethod
    def _set(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    # ---- its task ---------------------------------------------------------------------------

    def feed(self, path: str) -> None:
        """Copy a file of the service to standard input; in any thread, before `go`."""
        with open(path, "rb", buffering=0) as source:
            while os.sendfile(self._stdin, source.fileno(), None, _FEED_BYTES):
                pass

    def go(self, job: Job) -> None:
        """Set the limits and let the command start. Needs `waits`; raises BadInput, OSError, of
        that ProcessLookupError when the jail is dead, and NoRoom."""
        write_all(self._orders, orders_for(job))
        for fd in (self._orders, self._stdin):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        for output, path in zip(self.outputs, (job.stdout, job.stderr), strict=True):
            output.open(path, job.limits.output_bytes)
        try:
            self.leaf.limit(job.limits)
        except OSError as error:
            if error.errno == errno.EBUSY:  # the only thing that can be in the way of a limit
                raise NoRoom from error
            raise
        if self.leaf.oom_kills():  # cgroup v2 makes room for a limit by killing
            raise NoRoom
        nsjail.limit(self._place, self._first_pid, job.limits)
        with suppress(BrokenPipeError):  # it has just died
            self._gate.send(b"\n")

    def report(self) -> nsjail.JailReport:
        """What nsjail says of its end; after that."""
        return self._child.report()

    # ---- the end ----------------------------------------------------------------------------

    def ask_to_end(self) -> None:
        """SIGTERM to its task, and to nothing of ours. Needs to have been told to go."""
        ask_to_end(self.leaf, (self._child.pid, self._first_pid))

    async def discard(self) -> None:
        """End one that was not told to go. Raises Unavailable if it cannot be killed."""
        if not self.over.done():
            self.killer.begin()
            await self.over
        await empty(self.leaf)
        self.close()

    def close(self) -> None:
        """Let go of every descriptor. Needs it to be over."""
        self.killer.close()
        self._loop.remove_reader(self._gate.fileno())
        self._loop.remove_reader(self._child.pidfd)
        self._closing.close()


def _memory(name: str, closing: ExitStack) -> int:
    """A file without a name, which no path leads to and which leaves nothing."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    closing.callback(os.close, fd)
    os.fchmod(fd, _READABLE)
    return fd


def _read_only(fd: int, closing: ExitStack) -> int:
    copy = os.open(f"/proc/self/fd/{fd}", _READ_ONLY)
    closing.callback(os.close, copy)
    return copy
