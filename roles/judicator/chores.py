"""The loops of a serving process: pulse, ticks, audits, and the leader's housekeeping.

Every chore is guarded by compare-and-set, so two leaders at once do no harm; the term is checked
before each round only so that a paused leader that resumes stops early.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from khala.core.dependencies import Dependencies
from khala.core.dispatch import Dispatcher
from khala.core.expansion import Expansion
from khala.core.recovery import Recovery
from khala.model.blob import BLOB_AGE
from khala.model.errors import KhalaError
from khala.model.executor import JudicatorRecord
from khala.model.ids import ExecutorName, Incarnation, JudicatorName, Term
from khala.model.limits import AUDIT_INTERVAL_S, HEARTBEAT_S, PULSE_TTL_S
from khala.store.protocols import BlobStore, SessionStore

log = structlog.get_logger()

DISPATCH_TICK_S = 0.05
RECOVERY_TICK_S = 0.5
PULSE_INTERVAL_S = 1.0
#: A pulse that has neither come back nor failed, though it was cancelled when its time was over.
PULSE_HUNG_S = 30.0
#: Chunks that no task refers to; far longer than the slowest submission can take.
ORPHAN_AGE = timedelta(hours=1)
#: Each sweep looks at one page of keys and goes on from there at the next.
ORPHAN_INTERVAL_S = 60.0
#: Executors that have been gone this long disappear from the lists.
FORGET_AGE = timedelta(days=7)


class Leadership(Protocol):
    """What the chores need of the election and the registry."""

    def term(self) -> Term | None:
        """The term this process leads in, None while it does not."""
        ...

    def alive(self) -> set[Incarnation] | None:
        """Serving processes in the registry; None while the registry cannot be read."""
        ...

    def judicators(self) -> list[JudicatorRecord]:
        """The last known registry, for people."""
        ...


class Bounded(Protocol):
    """A collection that has a most; removes the oldest beyond it."""

    async def trim(self) -> int: ...


class Collector(Protocol):
    """A collection of chunks, or of what has some; removes those that nothing will ever name."""

    async def collect_orphans(self, older_than: timedelta) -> int: ...


class Chores:
    def __init__(
        self,
        dispatcher: Dispatcher,
        recovery: Recovery,
        sessions: SessionStore,
        fit: Callable[[], bool],
    ) -> None:
        """`fit` says whether this node may serve, whatever the store does."""
        self._fit = fit
        self._dispatcher = dispatcher
        self._recovery = recovery
        self._sessions = sessions
        #: The store hangs here, for everybody: a new process would have it whole.
        self.hung = False

    async def tick(self, expansion: Expansion, dependencies: Dependencies) -> None:
        """Timers of dispatch, of sessions, of jobs and of what waits for others."""
        next_recovery_at = 0.0
        while True:
            self._dispatcher.on_tick()
            expansion.on_tick()
            dependencies.on_tick()
            now = time.monotonic()
            if now >= next_recovery_at:
                next_recovery_at = now + RECOVERY_TICK_S
                self._recovery.on_tick()
            await asyncio.sleep(DISPATCH_TICK_S)

    async def pulse(self, name: JudicatorName) -> None:
        """Prove each second that a majority takes writes; without it, stop serving.

        A proof that does not come back, though its time is over and it was cancelled, is waited
        for no longer than any other.
        """
        last_ok = began = time.monotonic()
        proof: asyncio.Task[bool] | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                if proof is None:
                    began, proof = time.monotonic(), tasks.create_task(self._prove(name))
                await asyncio.wait({proof}, timeout=PULSE_TTL_S + PULSE_INTERVAL_S)
                if proof.done():
                    if proof.result():
                        last_ok = time.monotonic()
                    proof = None
                self.hung = proof is not None and time.monotonic() - began > PULSE_HUNG_S
                serving = time.monotonic() - last_ok < PULSE_TTL_S and self._fit()
                if serving != self._dispatcher.serving:
                    self._dispatcher.serving = serving
                    log.warning("judicator.serving_changed", serving=serving)
                await asyncio.sleep(PULSE_INTERVAL_S)

    async def _prove(self, name: JudicatorName) -> bool:
        try:
            async with asyncio.timeout(PULSE_TTL_S):
                await self._sessions.pulse(name)
        except (KhalaError, TimeoutError) as error:
            log.warning("store.pulse_failed", why=str(error))
            return False
        return True

    async def touch(self) -> None:
        """Keep fresh which executors are connected here; failures wait for the next round."""
        before: set[ExecutorName] = set()
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            sessions = list(self._dispatcher.sessions.values())
            online = {session.name for session in sessions if session.conn is not None}
            #: Of those that went to another judicator, that one takes the notes.
            parted = before & {session.name for session in sessions if session.conn is None}
            try:
                if online:
                    await self._sessions.touch_sessions(sorted(online))
                if parted:
                    await self._sessions.part_sessions(sorted(parted))
                before = online
            except KhalaError as error:
                log.debug("sessions.touch_failed", why=str(error))

    async def lead(
        self,
        leadership: Leadership,
        blobs: BlobStore,
        collectors: Sequence[Collector],
        audit: Bounded,
    ) -> None:
        """The leader's rounds."""
        next_sweep_at = time.monotonic() + ORPHAN_INTERVAL_S
        while True:
            await asyncio.sleep(AUDIT_INTERVAL_S)
            term, alive = leadership.term(), leadership.alive()
            if term is None or alive is None or not self._dispatcher.serving:
                continue
            try:
                if not await self._sessions.check_term(term):
                    continue
                await self._recovery.lead_once(alive)
                if time.monotonic() >= next_sweep_at:
                    next_sweep_at = time.monotonic() + ORPHAN_INTERVAL_S
                    await self._sweep(blobs, collectors, audit)
            except KhalaError as error:
                log.warning("leader.round_failed", why=str(error))

    async def _sweep(
        self, blobs: BlobStore, collectors: Sequence[Collector], audit: Bounded
    ) -> None:
        chunks = [await each.collect_orphans(ORPHAN_AGE) for each in collectors]
        removed = await blobs.collect(BLOB_AGE)
        forgotten = await self._sessions.forget_lost(FORGET_AGE)
        entries = await audit.trim()
        if any(chunks) or removed or forgotten or entries:
            log.info(
                "leader.swept",
                chunks=sum(chunks),
                blobs=removed,
                executors=forgotten,
                audit=entries,
            )
