"""Tickets: one of all who come with one gets it, and it is worth what its maker is by then."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import pytest_asyncio

from khala.model.access import Role
from khala.model.access_limits import TICKET_LIFE_S
from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.tokens import Minted, Shown, TokenKind, mint, parse_shown, seal
from khala.protocol.access import (
    ChangeUser,
    Identified,
    Identify,
    MakeTicket,
    MakeUser,
    NewPat,
    OpenSession,
    TicketUsed,
    UseTicket,
)
from khala.store import access_tokens
from khala.store.access_tokens import NewToken
from khala.store.dates import utc_now
from khala.store.mongo import MongoStore
from khala.store.schema import ACCESS_TICKETS
from tests.store.conftest import Store  # noqa: F401 - the fixtures come with it

HOUR = timedelta(hours=1)
GONE = TicketUsed()


@pytest_asyncio.fixture(loop_scope="session")
async def store(mongo: MongoStore) -> MongoStore:
    for each in (mongo.users, mongo.access_tokens):
        await each.prepare()
    return mongo


async def user(store: MongoStore, name: str = "ann", role: Role = Role.ADMIN) -> Shown:
    """What its token shows."""
    given = MakeUser(name=name, role=role, pat=NewPat(name="laptop", ttl_s=3600))
    token = NewToken(name="laptop", role=role, life=HOUR)
    _, _, minted = await store.users.make(given, token)
    shown = parse_shown(minted.text if minted else None)
    assert shown is not None
    return shown


async def make(store: MongoStore, by: Shown | None) -> Minted:
    ticket = mint(TokenKind.TICKET)
    expires_at = await store.access_tokens.make_ticket(
        MakeTicket(id=ticket.id, hash=ticket.hash, by=by)
    )
    assert timedelta() < expires_at - utc_now() <= timedelta(seconds=TICKET_LIFE_S)
    return ticket


async def use(store: MongoStore, ticket: Minted, *more: str) -> TicketUsed:
    hashes = [*more, ticket.hash]
    return await store.access_tokens.use_ticket(UseTicket(id=ticket.id, hashes=hashes))


async def test_of_all_who_come_at_once_one_gets_it(store: MongoStore) -> None:
    shown = await user(store)
    for _ in range(10):
        ticket = await make(store, shown)
        used = await asyncio.gather(*(use(store, ticket) for _ in range(8)))
        [one] = [each for each in used if each != GONE]
        assert (one.hash, one.by) == (ticket.hash, shown)
        assert one.identity is not None
        assert (one.identity.name, one.identity.role) == ("ann", Role.ADMIN)
        assert await use(store, ticket) == GONE


async def test_it_is_gone_after_its_time(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = await user(store)
    monkeypatch.setattr(access_tokens, "TICKET_LIFE_S", 0.0)
    ticket = mint(TokenKind.TICKET)
    await store.access_tokens.make_ticket(MakeTicket(id=ticket.id, hash=ticket.hash, by=shown))
    assert await use(store, ticket) == GONE
    indexes = await store.database[ACCESS_TICKETS].index_information()
    assert indexes["expires_at_1"]["expireAfterSeconds"] == 0


async def test_a_guess_does_not_use_it_up(store: MongoStore) -> None:
    ticket = await make(store, await user(store))
    for hashes in ([], [""], ["0" * 64], [seal(ticket.hash, "token")]):
        guess = UseTicket(id=ticket.id, hashes=hashes)
        assert await store.access_tokens.use_ticket(guess) == GONE
    other = UseTicket(id="f" * 12, hashes=[ticket.hash])
    assert await store.access_tokens.use_ticket(other) == GONE
    assert await use(store, ticket, "0" * 64) != GONE


async def test_it_is_worth_what_its_maker_is(store: MongoStore) -> None:
    await user(store)
    shown = await user(store, "bob", Role.OPERATOR)
    lesser, refused = await make(store, shown), await make(store, shown)
    await store.users.change("bob", ChangeUser(role=Role.VIEWER))
    used = await use(store, lesser)
    assert used.identity is not None
    assert used.identity.role is Role.VIEWER
    await store.access_tokens.revoke(shown.id, "bob")
    used = await use(store, refused)
    assert (used.hash, used.by, used.identity) == (refused.hash, shown, None)


async def test_it_is_gone_if_its_maker_cannot_be_read(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await make(store, await user(store))

    async def unread(_: Identify) -> Identified:
        raise Unavailable("MongoDB cannot be read now")

    # Nobody must believe that it may be shown again.
    monkeypatch.setattr(store.access_tokens, "identify", unread)
    with pytest.raises(OutcomeUnknown, match="cannot be read"):
        await use(store, ticket)
    monkeypatch.undo()
    assert await use(store, ticket) == GONE


async def test_a_session_that_was_closed_is_worth_nothing(store: MongoStore) -> None:
    shown = await user(store)
    opening = OpenSession(id=shown.id, hash=shown.hash, ttl_s=60)
    minted, _ = await store.access_tokens.open_session(opening)
    session = parse_shown(minted.text)
    assert session is not None
    good, late = await make(store, session), await make(store, session)
    used = await use(store, good)
    assert used.identity is not None
    assert (used.by, used.identity.name, used.identity.token) == (session, "ann", shown.id)
    await store.access_tokens.close_session(session.id)
    assert (await use(store, late)).identity is None


async def test_one_without_a_token_says_so(store: MongoStore) -> None:
    ticket = await make(store, None)
    assert await use(store, ticket) == TicketUsed(hash=ticket.hash)


async def test_the_oldest_goes_for_one_too_many(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_tokens, "TICKETS", 2)
    shown = await user(store)
    others = [await make(store, None) for _ in range(2)]
    tickets = []
    for _ in range(3):
        tickets.append(await make(store, shown))
        await asyncio.sleep(0.002)  # dates have milliseconds
    assert [await use(store, each) == GONE for each in tickets] == [True, False, False]
    assert GONE not in [await use(store, each) for each in others]
    await asyncio.gather(*(make(store, shown) for _ in range(10)))
    assert 1 <= await store.database[ACCESS_TICKETS].count_documents({}) <= 2


async def test_secrets_are_not_stored(store: MongoStore) -> None:
    ticket = await make(store, await user(store))
    secret = ticket.text.rsplit("_", 1)[1]
    assert secret not in str(await store.database[ACCESS_TICKETS].find().to_list())
