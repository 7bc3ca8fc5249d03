"""For how long a gateway believes who somebody is, and what it asks meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio

from khala.model.access import Identity, Role
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
from khala.model.tokens import Shown, TokenKind
from khala.net.access_client import AccessClient
from khala.protocol.access import Identified, Identify, TicketUsed, UseTicket
from roles.gateway.identities import Asked, Identities

ANN = Identity(role=Role.SUBMITTER, name="ann", number=7)


def shown(number: int) -> Shown:
    return Shown(TokenKind.PERSONAL, f"{number:012x}", f"{number:064x}")


class Judicators:
    """What they say, when they say it, and what they were asked."""

    def __init__(self) -> None:
        self.identities: dict[str, Identity] = {}
        self.has_users = True
        self.error: KhalaError | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.asked: Counter[str] = Counter()
        self.ticket = TicketUsed()

    async def identify(self, given: Identify) -> Identified:
        self.asked[given.hash] += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return Identified(has_users=self.has_users, identity=self.identities.get(given.hash))

    async def use_ticket(self, given: UseTicket) -> TicketUsed:
        self.asked[given.id] += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        ticket, self.ticket = self.ticket, TicketUsed()
        return ticket


class Scene:
    def __init__(self) -> None:
        self.judicators = Judicators()
        self.at = 1000.0
        client = cast(AccessClient, self.judicators)
        self.identities = Identities(client, lambda: self.at)
        self.outcomes: list[Asked] = []
        self.identities.on_asked = self.outcomes.append

    async def find(self, number: int) -> Identity | None:
        return (await self.identities.find(shown(number))).identity

    async def settle(self) -> None:
        """Let what is done in the background be done."""
        for _ in range(5):
            await asyncio.sleep(0)

    def asked(self, number: int) -> int:
        return self.judicators.asked[shown(number).hash]


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    scene.judicators.identities[shown(1).hash] = ANN
    yield scene
    scene.judicators.open.set()
    await scene.identities.close()


async def test_one_answer_serves_many_requests(scene: Scene) -> None:
    assert {await scene.find(1) for _ in range(100)} == {ANN}
    assert scene.asked(1) == 1
    assert scene.outcomes == [Asked.KNOWN]


async def test_many_at_once_are_one_question(scene: Scene) -> None:
    scene.judicators.open.clear()
    waiting = [asyncio.ensure_future(scene.find(1)) for _ in range(50)]
    await scene.settle()
    waiting[0].cancel()
    scene.judicators.open.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert set(answers[1:]) == {ANN}
    assert scene.asked(1) == 1


async def test_it_is_asked_again_in_the_background_before_it_is_too_old(scene: Scene) -> None:
    await scene.find(1)
    scene.at += IDENTITY_BELIEVED_S * 0.6
    scene.judicators.open.clear()
    assert await scene.find(1) == ANN
    assert await scene.find(1) == ANN
    await scene.settle()
    assert scene.asked(1) == 2
    scene.judicators.open.set()
    await scene.settle()
    scene.at += IDENTITY_BELIEVED_S * 0.6
    scene.judicators.open.clear()
    assert await scene.find(1) == ANN  # out of the second answer


async def test_a_revoked_token_is_refused_when_its_time_is_over(scene: Scene) -> None:
    await scene.find(1)
    scene.judicators.identities.clear()
    scene.at += IDENTITY_BELIEVED_S
    assert await scene.find(1) is None


async def test_unknown_is_believed_for_a_shorter_time(scene: Scene) -> None:
    assert await scene.find(2) is None
    assert await scene.find(2) is None
    assert scene.asked(2) == 1
    scene.judicators.identities[shown(2).hash] = ANN
    scene.at += IDENTITY_UNKNOWN_S
    assert await scene.find(2) == ANN
    assert scene.outcomes == [Asked.UNKNOWN, Asked.KNOWN]


async def test_what_was_believed_outlasts_a_short_silence(scene: Scene) -> None:
    await scene.find(1)
    scene.judicators.error = Unavailable("nobody answers")
    scene.at += IDENTITY_BELIEVED_S + 1
    assert await scene.find(1) == ANN
    assert scene.asked(1) == 2
    # Nobody waits for the next question, and it is not put at every request.
    scene.judicators.open.clear()
    assert await scene.find(1) == ANN
    assert scene.asked(1) == 2
    scene.at += IDENTITY_RETRY_S
    assert await scene.find(1) == ANN
    assert await scene.find(1) == ANN
    await scene.settle()
    assert scene.asked(1) == 3
    scene.judicators.open.set()
    await scene.settle()
    scene.at += IDENTITY_STALE_S
    with pytest.raises(Unavailable, match="nobody can say whose token this is: nobody answers"):
        await scene.find(1)
    scene.judicators.error = None
    assert await scene.find(1) == ANN
    assert Asked.UNANSWERED in scene.outcomes


async def test_what_was_unknown_does_not_outlast_it(scene: Scene) -> None:
    await scene.find(2)
    scene.judicators.error = Unavailable("nobody answers")
    scene.at += IDENTITY_UNKNOWN_S
    with pytest.raises(Unavailable):
        await scene.find(2)


async def test_guesses_wait_for_each_other_and_nobody_waits_for_them(scene: Scene) -> None:
    await scene.find(1)
    scene.judicators.open.clear()
    guesses = [asyncio.ensure_future(scene.find(100 + n)) for n in range(IDENTITY_GUESSES)]
    await scene.settle()
    with pytest.raises(Unavailable, match=f"{IDENTITY_GUESSES} tokens"):
        await scene.find(1000)
    assert scene.outcomes[-1] is Asked.TOO_MANY
    assert scene.asked(1000) == 0
    scene.at += IDENTITY_BELIEVED_S
    known = asyncio.ensure_future(scene.find(1))
    nothing = asyncio.ensure_future(scene.identities.find(None))
    await scene.settle()
    assert scene.asked(1) == 2
    scene.judicators.open.set()
    assert await known == ANN
    assert (await nothing).has_users
    assert set(await asyncio.gather(*guesses)) == {None}
    assert await scene.find(1000) is None


async def test_guesses_drive_out_guesses_alone(scene: Scene) -> None:
    await scene.find(1)
    for number in range(10, 10 + IDENTITIES_UNKNOWN + 100):
        await scene.find(number)
    assert len(scene.identities._unknown) == IDENTITIES_UNKNOWN
    assert await scene.find(1) == ANN
    assert scene.asked(1) == 1


async def test_known_ones_are_bounded_too(scene: Scene) -> None:
    for number in range(IDENTITIES_KNOWN + 10):
        scene.judicators.identities[shown(number).hash] = ANN
        await scene.find(number)
    assert len(scene.identities._known) == IDENTITIES_KNOWN


async def test_an_older_judicator_has_no_users_unless_there_were_some(scene: Scene) -> None:
    scene.judicators.error = NotFound("there is nothing at /rpc/v1/identify")
    assert await scene.identities.find(None) == Identified(has_users=False)
    scene.judicators.error = None
    scene.at += IDENTITY_BELIEVED_S
    assert (await scene.identities.find(None)).has_users
    scene.judicators.error = NotFound("there is nothing at /rpc/v1/identify")
    scene.at += IDENTITY_STALE_S
    with pytest.raises(Unavailable):
        await scene.identities.find(None)


async def test_what_was_changed_here_is_asked_anew(scene: Scene) -> None:
    await scene.find(1)
    scene.identities.forget()
    await scene.find(1)
    assert scene.asked(1) == 2
    scene.identities.forget()
    scene.judicators.error = Unavailable("out of order")
    with pytest.raises(Unavailable):
        await scene.find(1)


async def test_who_was_known_is_no_guess_until_it_is_revoked(scene: Scene) -> None:
    await scene.find(1)
    await scene.find(2)
    scene.identities.forget()
    assert [scene.identities.knows(shown(number)) for number in (1, 2)] == [True, False]
    scene.judicators.open.clear()
    guesses = [asyncio.ensure_future(scene.find(100 + n)) for n in range(IDENTITY_GUESSES)]
    known = asyncio.ensure_future(scene.find(1))
    await scene.settle()
    scene.judicators.open.set()
    assert await known == ANN
    await asyncio.gather(*guesses)
    scene.judicators.identities.clear()
    scene.identities.forget()
    assert await scene.find(1) is None
    assert not scene.identities.knows(shown(1))


async def test_what_was_asked_before_a_change_is_not_believed_after_it(scene: Scene) -> None:
    scene.judicators.identities[shown(1).hash] = ANN
    assert await scene.find(1) == ANN
    scene.at += IDENTITY_BELIEVED_S * 0.75
    answered, answer = asyncio.Event(), scene.judicators.identify

    async def late(given: Identify) -> Identified:
        found = await answer(given)
        await answered.wait()
        return found

    scene.judicators.identify = late  # type: ignore[method-assign]
    await scene.find(1)
    await scene.settle()
    del scene.judicators.identities[shown(1).hash]
    scene.identities.forget()
    scene.judicators.identify = answer  # type: ignore[method-assign]
    answered.set()
    await scene.settle()
    assert await scene.find(1) is None


TICKET = UseTicket(id="t", hashes=["h"])


async def test_a_ticket_is_asked_for_each_time(scene: Scene) -> None:
    scene.judicators.ticket = TicketUsed(hash="h", by=shown(1), identity=ANN)
    assert (await scene.identities.use_ticket(TICKET)).identity == ANN
    assert await scene.identities.use_ticket(TICKET) == TicketUsed()
    assert scene.judicators.asked == {"t": 2}
    assert scene.outcomes == [Asked.KNOWN, Asked.UNKNOWN]
    # What it stood for is known no better for that.
    scene.judicators.identities.clear()
    assert await scene.find(1) is None


async def test_tickets_are_guesses(scene: Scene) -> None:
    scene.judicators.open.clear()
    using = [
        asyncio.ensure_future(scene.identities.use_ticket(TICKET)) for _ in range(IDENTITY_GUESSES)
    ]
    await scene.settle()
    for more in (scene.identities.use_ticket(TICKET), scene.find(2)):
        with pytest.raises(Unavailable, match=f"{IDENTITY_GUESSES} tokens"):
            await more
    assert scene.judicators.asked == {"t": IDENTITY_GUESSES}
    using.pop().cancel()
    await scene.settle()
    scene.judicators.open.set()
    assert await scene.find(2) is None
    assert set(await asyncio.gather(*using)) == {TicketUsed()}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFound("there is nothing here"), "of a version without tickets"),
        (Unavailable("no answer"), "nobody can say whose ticket this is; make another one: no"),
        (OutcomeUnknown("no answer"), "nobody can say whose ticket this is; make another one: no"),
    ],
)
async def test_a_ticket_is_nobodys_while_nobody_can_say(
    scene: Scene, error: KhalaError, said: str
) -> None:
    scene.judicators.error = error
    with pytest.raises(Unavailable, match=said):
        await scene.identities.use_ticket(TICKET)
    assert scene.outcomes == [Asked.UNANSWERED]
