"""Who a token stands for, as a judicator says, and for how long a gateway believes it.

Who sent a request is asked of every one, so a judicator cannot be asked each time: what it said is
believed for `IDENTITY_BELIEVED_S`, which is how long a revoked token may go on, and asked again in
the background when half of that is over, so that nobody waits for it. While no judicator answers
it stays believed for `IDENTITY_STALE_S`: their short absence must not lock everybody out.

Secrets are guesses until a judicator says otherwise. Whoever sends guesses costs the cluster no
more than `IDENTITY_GUESSES` questions at a time, and this process a bounded memory, which those who
are known do not share. A ticket is such a guess, and what is said of it is nothing to remember: it
is good for once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from khala.model.access_limits import (
    IDENTITIES_KNOWN,
    IDENTITIES_UNKNOWN,
    IDENTITY_BELIEVED_S,
    IDENTITY_GUESSES,
    IDENTITY_RETRY_S,
    IDENTITY_STALE_S,
    IDENTITY_UNKNOWN_S,
)
from khala.model.errors import KhalaError, NotFound, OutcomeUnknown, Unavailable
from khala.model.tokens import Shown
from khala.net.access_client import AccessClient
from khala.protocol.access import Identified, Identify, TicketUsed, UseTicket

NO_TICKETS = (
    "a judicator of this cluster is of a version without tickets; show a token, as"
    " Authorization: Bearer <token>, or upgrade the judicators"
)


class Asked(StrEnum):
    """How a question to the judicators ended; a label of the metrics."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    #: Nobody answered.
    UNANSWERED = "unanswered"
    #: It was not put: too many are under way.
    TOO_MANY = "too_many"


@dataclass(slots=True)
class _Belief:
    answer: Identified
    #: When the question was put: what happened later is not in the answer.
    asked_at: float
    lasts_s: float
    #: It was put again, then, and nobody answered.
    failed_at: float | None = None


class Identities:
    """`find` is called for every request without a ticket; `close` it at the end."""

    def __init__(self, client: AccessClient, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._now = now
        #: By the hash of the secret; what is known when nothing is shown stands under "".
        self._known: dict[str, _Belief] = {}
        self._unknown: dict[str, _Belief] = {}
        self._asking: dict[str, asyncio.Task[Identified | KhalaError]] = {}
        #: Put before something was changed here: who waits for one is told, nobody else.
        self._outdated: set[asyncio.Task[Identified | KhalaError]] = set()
        #: Those of both that nobody had vouched for.
        self._guesses: set[asyncio.Task[Any]] = set()
        #: The cluster has had users, so that it does not become open because a judicator is older
        #: than they are.
        self._users_seen = False
        self.on_asked: Callable[[Asked], None] = lambda asked: None

    async def find(self, shown: Shown | None) -> Identified:
        """Raise `Unavailable` if nobody can say it. None asks only whether there are users."""
        key = shown.hash if shown is not None else ""
        belief = self._known.get(key) or self._unknown.get(key)
        if belief is not None and self._holds(belief, key, shown):
            return belief.answer
        answer = await asyncio.shield(self._ask(key, shown))
        if isinstance(answer, Identified):
            return answer
        if belief is not None and self._holds(belief, key, shown):
            return belief.answer
        raise Unavailable(f"nobody can say whose token this is: {answer.message}")

    def knows(self, shown: Shown) -> bool:
        """A judicator vouched for it, whether that is still believed or not."""
        return shown.hash in self._known

    async def use_ticket(self, ticket: UseTicket) -> TicketUsed:
        """Raise `Unavailable` if nobody can say whose it is; it may be gone all the same."""
        self._check_guesses()
        task = asyncio.ensure_future(self._client.use_ticket(ticket))
        self._guesses.add(task)
        task.add_done_callback(self._guesses.discard)
        try:
            used = await task
        except NotFound:
            self.on_asked(Asked.UNANSWERED)
            raise Unavailable(NO_TICKETS) from None
        except (Unavailable, OutcomeUnknown) as error:
            self.on_asked(Asked.UNANSWERED)
            raise Unavailable(
                f"nobody can say whose ticket this is; make another one: {error.message}"
            ) from error
        self.on_asked(Asked.UNKNOWN if used.hash is None else Asked.KNOWN)
        return used

    def forget(self) -> None:
        """Something was changed through this gateway: believe nothing from before, nor what is
        being answered to a question from before. Who was known is no guess for that."""
        for belief in self._known.values():
            belief.asked_at = -math.inf
        self._unknown.clear()
        self._outdated.update(self._asking.values())
        self._asking.clear()

    async def close(self) -> None:
        tasks = [*self._asking.values(), *self._outdated]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _holds(self, belief: _Belief, key: str, shown: Shown | None) -> bool:
        """Whether it may be used as it is; asks again in time."""
        now = self._now()
        age_s = now - belief.asked_at
        fresh = age_s < belief.lasts_s
        if belief.lasts_s == IDENTITY_UNKNOWN_S:
            return fresh
        silent = belief.failed_at is not None
        if not fresh and not (silent and age_s < IDENTITY_STALE_S):
            return False
        if age_s > belief.lasts_s / 2 and now - (belief.failed_at or 0.0) >= IDENTITY_RETRY_S:
            self._ask(key, shown)
        return True

    def _ask(self, key: str, shown: Shown | None) -> asyncio.Task[Identified | KhalaError]:
        """One question for all who show the same. Raise `Unavailable` if too many are open."""
        task = self._asking.get(key)
        if task is not None:
            return task
        guess = bool(key) and key not in self._known
        if guess:
            self._check_guesses()
        task = asyncio.ensure_future(self._put(key, shown))
        if guess:
            self._guesses.add(task)
        self._asking[key] = task
        task.add_done_callback(lambda task: self._answered(key, task))
        return task

    def _check_guesses(self) -> None:
        if len(self._guesses) >= IDENTITY_GUESSES:
            self.on_asked(Asked.TOO_MANY)
            raise Unavailable(
                f"{IDENTITY_GUESSES} tokens that this gateway does not know are being looked"
                " up, which is the limit; repeat it"
            )

    def _answered(self, key: str, task: asyncio.Task[Identified | KhalaError]) -> None:
        if self._asking.get(key) is task:
            del self._asking[key]
        self._outdated.discard(task)
        self._guesses.discard(task)

    async def _put(self, key: str, shown: Shown | None) -> Identified | KhalaError:
        """Never raises: nobody may be waiting for it."""
        asked_at = self._now()
        question = Identify() if shown is None else Identify(id=shown.id, hash=shown.hash)
        try:
            answer = await self._client.identify(question)
        except NotFound as error:  # of a judicator that knows no users
            if self._users_seen:
                return self._fail(key, error)
            answer = Identified(has_users=False)
        except KhalaError as error:
            return self._fail(key, error)
        self._users_seen = self._users_seen or answer.has_users
        if asyncio.current_task() not in self._outdated:
            self._keep(key, answer, asked_at)
        return answer

    def _keep(self, key: str, answer: Identified, asked_at: float) -> None:
        known = answer.identity is not None or not key
        self.on_asked(Asked.KNOWN if known else Asked.UNKNOWN)
        self._known.pop(key, None)
        self._unknown.pop(key, None)
        kept, bound, lasts_s = (
            (self._known, IDENTITIES_KNOWN, IDENTITY_BELIEVED_S)
            if known
            else (self._unknown, IDENTITIES_UNKNOWN, IDENTITY_UNKNOWN_S)
        )
        while len(kept) >= bound:
            del kept[next(iter(kept))]
        kept[key] = _Belief(answer=answer, asked_at=asked_at, lasts_s=lasts_s)

    def _fail(self, key: str, error: KhalaError) -> KhalaError:
        self.on_asked(Asked.UNANSWERED)
        belief = self._known.get(key)
        if belief is not None:
            belief.failed_at = self._now()
        return error
