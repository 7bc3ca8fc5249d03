"""Several children: each starts when the one before it serves, and they stop in reverse.

What runs is written to a small file for `status`, at every change: a reader needs no connection
to a supervisor that may be the very thing that hangs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from khala.supervise.child import Child, ChildSpec, ChildView


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
        """Until `stop` is set or a child refuses to start: then 2, else 0. `started` is set when
        every child serves."""
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        runs: list[asyncio.Task[None]] = []
        stopped = asyncio.ensure_future(stop.wait())
        try:
            for child in self._children:
                runs.append(asyncio.ensure_future(child.run()))
                settled = asyncio.ensure_future(child.settled.wait())
                await asyncio.wait({settled, stopped}, return_when=asyncio.FIRST_COMPLETED)
                settled.cancel()
                if stop.is_set() or child.refused:
                    break
            else:
                started.set()
                await self._until_over(runs, stopped)
        finally:
            stopped.cancel()
            for child in reversed(self._children[: len(runs)]):
                await child.stop()
            await asyncio.gather(*runs)
            self._state_file.unlink(missing_ok=True)
        return 2 if any(child.refused for child in self._children) else 0

    async def _until_over(
        self, runs: list[asyncio.Task[None]], stopped: asyncio.Task[Literal[True]]
    ) -> None:
        """A child that is given up leaves the others running: they may serve without it."""
        waiting: set[asyncio.Future[Literal[True]] | asyncio.Future[None]] = {stopped, *runs}
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if stopped in done or any(child.refused for child in self._children):
                return

    def _publish(self) -> None:
        view = TreeView(
            role=self._identity.role,
            pid=os.getpid(),
            rpc=self._identity.rpc,
            children=self.views,
        )
        draft = self._state_file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(view))
        draft.replace(self._state_file)
        if self._on_change is not None:
            self._on_change(view.children)
