"""Which of the tasks that a quota holds may join the queue.

A task of a user with a bound on what runs is accepted as held. Whoever sees that there is room for
it (a task of that user ended here, one was accepted here, or the look around that finds what others
left) lifts what is next, as much as there is room for, so what is queued or runs is never more than
the bound, and the order of the queue knows nothing of it.

No judicator leads in this, and the bound holds all the same. Who lifts takes the user's turn first:
one document, whose number is compared and set, and which names what is lifted in that turn. The
next one lifts that again before it counts what is out, since whoever took the turn may have died,
or be slow. So between a count and the turn that follows from it nobody else has lifted anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from khala.core.dispatch import Dispatcher
from khala.model.errors import KhalaError
from khala.model.ids import TaskId
from khala.model.limits import QUOTA_INTERVAL_S, QUOTA_PORTION, QUOTA_USERS
from khala.model.quota import QUOTA, Quotas, Turn
from khala.model.statements import Lift


class QuotaPort(Protocol):
    """What is asked of the store."""

    async def find_waiting(self, user: int, limit: int) -> list[TaskId]:
        """Tasks of the user that nothing but its quota holds, in the order of the queue."""
        ...

    async def count_out(self, user: int) -> int:
        """Its open tasks that the quota does not hold."""
        ...

    async def cpu_s_today(self, user: int) -> float: ...
    async def find_users(self) -> list[int]:
        """Those with tasks that a quota holds."""
        ...

    async def load_turn(self, user: int) -> Turn: ...
    async def take_turn_if_next(self, user: int, turn: Turn) -> bool:
        """S22. Precondition: the turn before it stands."""
        ...


class QuotaLifting:
    """One judicator's part in it; one look at a user at a time."""

    def __init__(
        self, store: QuotaPort, dispatcher: Dispatcher, quotas: Callable[[], Quotas]
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._comm = dispatcher.comm
        #: Those in force, which may be others at any moment.
        self._quotas = quotas
        self._looking: set[int] = set()
        #: Something happened while they were looked at.
        self._again: set[int] = set()
        #: Turns of which everything is known to be lifted.
        self._lifted: dict[int, int] = {}
        self._next_look_at = 0.0
        self._releasing = False

    def on_tick(self) -> None:
        now = self._comm.now()
        if self._dispatcher.serving and now >= self._next_look_at:
            self._next_look_at = now + QUOTA_INTERVAL_S
            self._comm.spawn(self._look_around() if self._quotas().on else self.release())

    def look_again(self) -> None:
        """Bounds have changed: the next tick does not wait its turn."""
        self._next_look_at = 0.0

    def hurry(self, user: int) -> None:
        """There may be room for one of its tasks."""
        if user in self._looking:
            self._again.add(user)
        else:
            self._looking.add(user)
            self._comm.spawn(self._advance(user))

    async def _look_around(self) -> None:
        try:
            users = await self._store.find_users()
        except KhalaError:
            return  # the next look is QUOTA_INTERVAL_S away
        for user in users:
            self.hurry(user)

    async def release(self) -> None:
        """Where there are no quotas any more, nothing else lets go of what they held; again and
        again, since another judicator may not know of it yet, and hold one more."""
        if self._releasing:
            return
        self._releasing = True
        try:
            while not self._quotas().on:
                held = await self._dispatcher.store.find_held(QUOTA, QUOTA_PORTION)
                await self._lift(held)
                if len(held) < QUOTA_PORTION:
                    return
        except KhalaError:
            pass  # the look around comes again
        finally:
            self._releasing = False

    async def _advance(self, user: int) -> None:
        try:
            more = True
            while more or user in self._again:
                self._again.discard(user)
                more = await self.lift(user)
        except KhalaError:
            pass  # the look around comes again
        finally:
            self._looking.discard(user)
            self._again.discard(user)

    async def lift(self, user: int) -> bool:
        """What there is room for; whether there may be more."""
        quota = self._quotas().of(user)
        if quota.cpu_s is not None and await self._store.cpu_s_today(user) >= quota.cpu_s:
            return False
        if quota.running is not None:
            return await self._take_turn(user, quota.running)
        waiting = await self._store.find_waiting(user, QUOTA_PORTION)
        await self._lift(waiting)
        return len(waiting) == QUOTA_PORTION

    async def _take_turn(self, user: int, limit: int) -> bool:
        turn = await self._store.load_turn(user)
        if self._lifted.get(user) != turn.number:
            await self._lift(turn.tasks)
            self._note_lifted(user, turn)
        waiting = await self._store.find_waiting(user, min(limit, QUOTA_PORTION))
        if not waiting:
            return False
        room = limit - await self._store.count_out(user)
        if room <= 0:
            return False
        following = Turn(number=turn.number + 1, tasks=tuple(waiting[:room]))
        if not await self._store.take_turn_if_next(user, following):
            return True  # another judicator was faster: look again
        await self._lift(following.tasks)
        self._note_lifted(user, following)
        return len(following.tasks) == QUOTA_PORTION

    async def _lift(self, tasks: Sequence[TaskId]) -> None:
        if tasks:
            await self._dispatcher.holding.lift([Lift(id=task, key=QUOTA) for task in tasks])

    def _note_lifted(self, user: int, turn: Turn) -> None:
        self._lifted.pop(user, None)
        self._lifted[user] = turn.number
        if len(self._lifted) > QUOTA_USERS:
            del self._lifted[next(iter(self._lifted))]
