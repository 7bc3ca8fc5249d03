"""Several children: each starts when the one before it serves, and they stop in reverse.

What runs is written to a small file for `status`, at every change: a reader needs no connection
to a supervisor that may be the very thing that hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from khala.supervise.child import REFUSED, Child, ChildSpec, ChildView


class Identity(Struct, frozen=True, kw_only=True):
    """What a state file says of its supervisor."""

    role: str
    #: host:port of the RPC of this host's judicator, for whoever finds the file.
    rpc: str


class TreeView(Struct, frozen=True, kw_only=True):
    """Content of a state file."""

    role: str
    pid: int
    rpc: str
    children: list[ChildView]


class Tree:
    """Supervises `specs` in their order and keeps `state_file` true while it runs."""

    def __init__(
        self,
        identity: Identity,
        specs: Sequence[ChildSpec],
        state_file: Path,
        on_change: Callable[[list[ChildView]], None] | None = None,
    ) -> None:
        self._identity = identity
        self._state_file = state_file
        self._on_change = on_change
        self._children = [Child(spec, self._publish) for spec in specs]

    @property
    def views(self) -> list[ChildView]:
        return [child.view for child in self._children]

    async def run(self, stop: asyncio.Event, started: asyncio.Event) -> int:
        """Until `stop` is set or a child refuses to start: then `REFUSED`, else 0. `started` is
        set when every child serves, or has failed."""
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            async with asyncio.TaskGroup() as group:
                stopped = group.create_task(stop.wait())
                await self._supervise(group, stopped, started)
                stopped.cancel()
        finally:
            self._remove_report()
        return REFUSED if self._refused else 0

    @property
    def _refused(self) -> bool:
        return any(child.refused for child in self._children)

    async def _supervise(
        self,
        group: asyncio.TaskGroup,
        stopped: asyncio.Task[Literal[True]],
        started: asyncio.Event,
    ) -> None:
        runs: list[asyncio.Task[None]] = []
        try:
            for child in self._children:
                runs.append(group.create_task(child.run()))
                settled = group.create_task(child.settled.wait())
                await asyncio.wait({settled, stopped}, return_when=asyncio.FIRST_COMPLETED)
                settled.cancel()
                if stopped.done() or self._refused:
                    return
            started.set()
            await self._until_over(runs, stopped)
        finally:
            for child, run in reversed(list(zip(self._children, runs, strict=False))):
                child.stop()
                await asyncio.wait({run})

    async def _until_over(
        self, runs: list[asyncio.Task[None]], stopped: asyncio.Task[Literal[True]]
    ) -> None:
        """A child that has failed leaves the others running: they may serve without it."""
        waiting: set[asyncio.Future[Literal[True]] | asyncio.Future[None]] = {stopped, *runs}
        while not stopped.done() and not self._refused:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    def _publish(self) -> None:
        view = TreeView(
            role=self._identity.role,
            pid=os.getpid(),
            rpc=self._identity.rpc,
            children=self.views,
        )
        draft = self._state_file.with_suffix(".new")
        try:
            draft.write_bytes(msgspec.json.encode(view))
            draft.replace(self._state_file)
        except OSError:
            # A full disk takes the databases down; it must not take their supervisor too. The
            # report is gone then rather than wrong.
            self._remove_report()
        if self._on_change is not None:
            self._on_change(view.children)

    def _remove_report(self) -> None:
        with contextlib.suppress(OSError):
            self._state_file.unlink(missing_ok=True)


def read_trees(folder: Path) -> list[TreeView]:
    """What the supervisors of a data directory wrote into its `run`, `up` first. A killed one
    leaves its file behind: left out."""
    found: list[TreeView] = []
    for file in sorted(folder.glob("*.json"), reverse=True):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            tree = msgspec.json.decode(file.read_bytes(), type=TreeView)
            if Path(f"/proc/{tree.pid}").exists():
                found.append(tree)
    return found
