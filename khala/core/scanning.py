"""The store's queue, looked through for what this Judicator's memory does not have.

Tasks of other Judicators, tasks that were given back, tasks of an earlier life: all of them wait in
the store's index, and a scan a few times a second finds them. Shape by shape, because the index is
ordered by place, and a thousand early tasks that need what is busy or nowhere would otherwise be
all that a scan ever sees. Which images there are is known from the sessions; which other shapes
wait is asked of the index, and if they are many, they are looked at in turns.
"""

from __future__ import annotations

from khala.core.leasing import Leasing
from khala.core.ports import Comm, Store
from khala.core.sessions import Sessions
from khala.model.errors import KhalaError
from khala.model.limits import (
    OWN_SCAN_ITEMS,
    PEEK_INTERVAL_S,
    PEEK_ITEMS,
    SCAN_INTERVAL_S,
    SCAN_ITEMS,
    SHAPES,
    SHAPES_INTERVAL_S,
    STRANGER_AGE_S,
)
from khala.model.spec import TaskSpec


class Scanning:
    """Feeds a `Leasing`; one scan at a time."""

    def __init__(self, leasing: Leasing, store: Store, comm: Comm) -> None:
        self._leasing = leasing
        self._ready = leasing.ready
        self._refusals = leasing.refusals
        self._returns = leasing.returns
        self._sessions = leasing.sessions
        self._store = store
        self._comm = comm
        self._next_scan_at = 0.0
        self._next_peek_at = 0.0
        self._scanning = False
        self._shapes = Shapes(self._sessions, store, comm)

    def on_tick(self) -> None:
        """Look for tasks of other Judicators, and for those that were given back."""
        now = self._comm.now()
        if self._refusals.expire(now):
            self._returns.unscanned = True
        # Other Judicators' executors run the others, or nobody's; the index has them all.
        self._ready.keep(self._sessions.serve)
        self._leasing.dispatch()
        if not self._leasing.serving or self._scanning or not self._sessions:
            return
        least = self._due(now)
        if least:
            self._scanning = True
            self._next_scan_at = now + SCAN_INTERVAL_S
            self._comm.spawn(self._scan(least))

    def _due(self, now: float) -> dict[str, int]:
        """Shapes to look for, and how many tasks of each are read even if no slot is free."""
        shapes = self._shapes.here()
        # What was given back is older than all that waits in `ready`: it must not wait until
        # that is empty, which under load may be never.
        if self._returns.unscanned or (now >= self._next_scan_at and self._sessions.free):
            self._returns.unscanned = False
            return dict.fromkeys(shapes, OWN_SCAN_ITEMS)
        if now >= self._next_peek_at:
            # What is next of all may be another Judicator's, and more urgent than all of `ready`.
            self._next_peek_at = now + PEEK_INTERVAL_S
            return dict.fromkeys(shapes, PEEK_ITEMS)
        if now < self._next_scan_at:
            return {}
        # Nor must what waits for few executors wait until nobody else wants their slots. `ready`
        # may lack it: nobody here could run it when it came, or it came to another Judicator.
        missing = [shape for shape in shapes if shape and not self._ready.waits(shape)]
        return dict.fromkeys(missing, OWN_SCAN_ITEMS)

    async def _scan(self, least: dict[str, int]) -> None:
        """Shape by shape: a long queue for one must not hide what waits for the others."""
        try:
            known = set(self._shapes.here())
            await self._shapes.look()
            for shape in self._shapes.here():
                if shape in least or shape not in known:
                    await self._scan_for(shape, least.get(shape, OWN_SCAN_ITEMS))
        except KhalaError:
            pass  # the next scan is SCAN_INTERVAL_S away
        finally:
            self._scanning = False

    async def _scan_for(self, shape: str, least: int) -> None:
        # Alone, all of the queue is our own. Else it is shared, and read for free slots only.
        own = len(self._comm.peers()) <= 1 or not self._sessions.free
        wanted = 2 * self._shapes.room_for(shape)
        if own:
            wanted = max(wanted, least)
        if not wanted:
            return
        # Refused tasks stay at the head of the queue; they must not hide what is behind.
        wanted = min(wanted + len(self._refusals), SCAN_ITEMS)
        found = await self._store.find_queued(shape, wanted, STRANGER_AGE_S)
        if len(found) == wanted:
            self._next_scan_at = 0.0  # there is more: look again as soon as a slot is free
        if own:
            for task in found:
                if not self._refusals.of(task.id):
                    self._ready.add(task)
            self._leasing.dispatch()
            found = [task for task in found if self._refusals.of(task.id)]
        # Two Judicators read the same head of the queue: a random pick makes them collide on few
        # documents instead of all.
        self._comm.shuffle(found)
        for task in found:
            session = self._sessions.roomiest(task.spec, self._refusals.of(task.id))
            if session is not None and task.id not in self._ready and self._leasing.serving:
                self._leasing.take(session, task)


class Shapes:
    """Shapes that sessions of this Judicator could be given tasks of."""

    def __init__(self, sessions: Sessions, store: Store, comm: Comm) -> None:
        self._sessions = sessions
        self._store = store
        self._comm = comm
        #: A task of each shape that waits in the store and wants more than its base.
        self._found: dict[str, TaskSpec] = {}
        #: Where the next look begins.
        self._after = ""
        self._next_look_at = 0.0

    def here(self) -> list[str]:
        """Those that can be run here: whatever sessions are for, and others that wait."""
        others = [shape for shape, spec in self._found.items() if self._sessions.serve(spec)]
        return [*self._sessions.shapes, *others]

    def room_for(self, shape: str) -> int:
        """Free slots that a task of this shape could have."""
        spec = self._found.get(shape)
        if spec is None:
            return self._sessions.free_for(shape)
        return self._sessions.free_for(spec.base) if self._sessions.roomiest(spec) else 0

    async def look(self) -> None:
        now = self._comm.now()
        if now < self._next_look_at:
            return
        self._next_look_at = now + SHAPES_INTERVAL_S
        found = await self._store.find_shapes(self._after, SHAPES)
        self._after = found[-1].spec.shape if len(found) == SHAPES else ""
        self._found = {task.spec.shape: task.spec for task in found if task.spec.wants.digest}
