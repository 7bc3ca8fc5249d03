"""Users, and that an administrator is left whatever happens at once; tokens, and whom they mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
import pytest_asyncio

from khala.model.access import Identity, Role, User
from khala.model.access_limits import USER_NUMBER_MAX
from khala.model.errors import AlreadyThere, LastAdmin, NotFound, NotPossible, Rejected
from khala.model.tokens import Shown, parse_shown
from khala.protocol.access import ChangeUser, Identify, MakeUser, NewPat, OpenSession
from khala.store import access_tokens, users
from khala.store.access_tokens import NewToken
from khala.store.mongo import MongoStore
from khala.store.schema import ACCESS_SESSIONS, ACCESS_TOKENS, META
from tests.store.conftest import Store  # noqa: F401 - the fixtures come with it

HOUR = timedelta(hours=1)
DISABLED = ChangeUser(disabled=True)
DEMOTED = ChangeUser(role=Role.OPERATOR)


@pytest_asyncio.fixture(loop_scope="session")
async def store(mongo: MongoStore) -> MongoStore:
    """With no users yet."""
    for each in (mongo.users, mongo.access_tokens, mongo.audit):
        await each.prepare()
    return mongo


def token_of(role: Role = Role.ADMIN, life: timedelta = HOUR) -> NewToken:
    return NewToken(name="laptop", role=role, life=life)


async def make(
    store: MongoStore, name: str, role: Role = Role.ADMIN, number: int | None = None
) -> tuple[User, Shown]:
    given = MakeUser(name=name, role=role, number=number, pat=NewPat(name="laptop", ttl_s=3600))
    user, _, minted = await store.users.make(given, token_of(role))
    assert minted is not None
    shown = parse_shown(minted.text)
    assert shown is not None
    return user, shown


async def who(store: MongoStore, shown: Shown) -> Identity | None:
    found = await store.access_tokens.identify(Identify(id=shown.id, hash=shown.hash))
    return found.identity


async def has_users(store: MongoStore) -> bool:
    return (await store.access_tokens.identify(Identify())).has_users


async def test_the_first_one_can_make_others(store: MongoStore) -> None:
    assert not await has_users(store)
    for role, pat in ((Role.OPERATOR, NewPat(name="x", ttl_s=60)), (Role.ADMIN, None)):
        with pytest.raises(NotPossible, match="the first user must be an administrator"):
            await store.users.make(MakeUser(name="ann", role=role, pat=pat), token_of(role))
    assert not await has_users(store)
    user, shown = await make(store, "ann")
    assert await has_users(store)
    assert user == await store.users.get("ann")
    identity = await who(store, shown)
    assert identity is not None
    assert (identity.name, identity.number, identity.role) == ("ann", 1, Role.ADMIN)
    later, _, none = await store.users.make(MakeUser(name="bob", role=Role.VIEWER), None)
    assert none is None
    assert [each.name for each in await store.users.list()] == ["ann", "bob"]
    assert later.number == 2


async def test_names_and_numbers_are_one_users(store: MongoStore) -> None:
    await make(store, "ann", number=7)
    with pytest.raises(AlreadyThere, match="there is a user ann"):
        await make(store, "ann")
    with pytest.raises(AlreadyThere, match="7 is that of ann"):
        await make(store, "bob", number=7)
    assert (await make(store, "bob"))[0].number == 8
    await store.users.remove("bob")
    # Its tasks are still there.
    assert (await make(store, "cid"))[0].number == 9
    assert (await make(store, "dan", number=8))[0].number == 8
    assert (await make(store, "eve", number=0))[0].number == 0
    await make(store, "fay", number=USER_NUMBER_MAX)
    with pytest.raises(Rejected, match=f"{USER_NUMBER_MAX}, the highest one"):
        await make(store, "gus")


async def test_numbers_of_a_restored_store_go_on(store: MongoStore) -> None:
    """The counter was copied before the users."""
    await make(store, "ann")
    await make(store, "bob")
    await store.database[META].update_one({"_id": "users"}, {"$set": {"next": 1}})
    assert (await make(store, "cid"))[0].number == 3


async def test_there_is_a_most(store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "USERS", 2)
    monkeypatch.setattr(users, "USER_TOKENS", 2)
    await make(store, "ann")
    await make(store, "bob")
    with pytest.raises(Rejected, match=r"there are 2 users.*remove one that is not needed"):
        await make(store, "cid")
    await store.users.make_token("ann", token_of())
    with pytest.raises(Rejected, match="ann has 2 tokens"):
        await store.users.make_token("ann", token_of())


async def test_what_is_asked_for_at_once_does_not_pass_the_most(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, many = 4, 12
    monkeypatch.setattr(users, "USER_TOKENS", most)
    monkeypatch.setattr(access_tokens, "USER_SESSIONS", most)
    _, shown = await make(store, "ann")
    given = OpenSession(id=shown.id, hash=shown.hash, ttl_s=60)
    for _ in range(3):
        await asyncio.gather(*(store.access_tokens.open_session(given) for _ in range(many)))
        held = await store.database[ACCESS_SESSIONS].count_documents({"user": "ann"})
        assert 1 <= held <= most
    # The one that was opened last is good.
    minted, _ = await store.access_tokens.open_session(given)
    session = parse_shown(minted.text)
    assert session is not None
    assert await who(store, session) is not None
    made = await asyncio.gather(
        *(store.users.make_token("ann", token_of()) for _ in range(many)), return_exceptions=True
    )
    refused = [each for each in made if isinstance(each, BaseException)]
    assert len(made) - len(refused) == most - 1
    assert all(isinstance(each, Rejected) for each in refused), refused


@pytest.mark.parametrize("change", [DISABLED, DEMOTED, None], ids=["disable", "demote", "remove"])
async def test_the_last_administrator_stays(store: MongoStore, change: ChangeUser | None) -> None:
    await make(store, "ann")
    await make(store, "bob", Role.OPERATOR)
    _, shown = await make(store, "cid")

    async def end(name: str) -> None:
        if change is None:
            await store.users.remove(name)
        else:
            await store.users.change(name, change)

    await end("cid")
    with pytest.raises(LastAdmin, match="ann is the last administrator"):
        await end("ann")
    await store.users.change("ann", ChangeUser(role=Role.ADMIN, disabled=False))
    identity = await who(store, shown)
    assert identity is None if change is not DEMOTED else identity is not None
    with pytest.raises(NotFound, match="there is no user 'nobody'"):
        await end("nobody")


async def test_two_who_end_each_other_do_not_both_succeed(store: MongoStore) -> None:
    names = ("ann", "bob", "cid")

    def disable(name: str) -> Callable[[], Awaitable[object]]:
        return lambda: store.users.change(name, DISABLED)

    def remove(name: str) -> Callable[[], Awaitable[object]]:
        return lambda: store.users.remove(name)

    for ending in (disable, remove) * 5:
        for name in names:
            try:
                await make(store, name)
            except AlreadyThere:
                await store.users.change(name, ChangeUser(role=Role.ADMIN, disabled=False))
        ends = await asyncio.gather(*(ending(name)() for name in names), return_exceptions=True)
        failed = [end for end in ends if isinstance(end, BaseException)]
        assert all(isinstance(end, LastAdmin) for end in failed), failed
        assert len(failed) == 1
        assert len([each for each in await store.users.list() if not each.disabled]) == 1


async def test_a_token_means_what_its_user_may_now(store: MongoStore) -> None:
    await make(store, "ann")
    _, shown = await make(store, "bob", Role.OPERATOR)
    assert (await who(store, shown)).role is Role.OPERATOR  # type: ignore[union-attr]
    await store.users.change("bob", ChangeUser(role=Role.VIEWER))
    assert (await who(store, shown)).role is Role.VIEWER  # type: ignore[union-attr]
    # A token never allows more than it was made for.
    await store.users.change("bob", ChangeUser(role=Role.ADMIN))
    assert (await who(store, shown)).role is Role.OPERATOR  # type: ignore[union-attr]
    await store.users.change("bob", DISABLED)
    assert await who(store, shown) is None
    await store.users.change("bob", ChangeUser(disabled=False))
    assert await who(store, shown) is not None


async def test_what_is_not_right_is_nobody(store: MongoStore) -> None:
    _, shown = await make(store, "ann")
    for wrong in (
        Shown(shown.kind, shown.id, "0" * 64),
        Shown(shown.kind, shown.id, "é"),
        Shown(shown.kind, shown.id, ""),
        Shown(shown.kind, "f" * 12, shown.hash),
    ):
        assert await who(store, wrong) is None
    await store.database[ACCESS_TOKENS].update_one(
        {"_id": shown.id}, [{"$set": {"expires_at": "$created_at"}}]
    )
    assert await who(store, shown) is None
    assert await store.access_tokens.list("ann") == []


async def test_secrets_are_not_stored(store: MongoStore) -> None:
    await make(store, "ann")
    token, minted = await store.users.make_token("ann", token_of())
    secret = minted.text.rsplit("_", 1)[1]
    assert secret not in str(await store.database[ACCESS_TOKENS].find().to_list())
    assert token.id in minted.text


async def test_a_session_lives_as_long_as_its_token(store: MongoStore) -> None:
    await make(store, "ann")
    _, shown = await make(store, "bob", Role.SUBMITTER)
    opening = OpenSession(id=shown.id, hash=shown.hash, ttl_s=10**6)
    minted, document = await store.access_tokens.open_session(opening)
    (token,) = await store.access_tokens.list("bob")
    assert document["expires_at"] == token.expires_at
    session = parse_shown(minted.text)
    assert session is not None
    identity = await who(store, session)
    assert identity is not None
    assert (identity.name, identity.token) == ("bob", token.id)
    with pytest.raises(NotFound, match="no such token"):
        await store.access_tokens.open_session(OpenSession(id=shown.id, hash="", ttl_s=60))
    with pytest.raises(NotFound, match="there is no token"):
        await store.access_tokens.revoke(token.id, "ann")
    assert await store.access_tokens.revoke(token.id, "bob") == "bob"
    assert await who(store, session) is None
    assert await who(store, shown) is None


async def test_a_session_that_is_closed_is_over(store: MongoStore) -> None:
    _, shown = await make(store, "ann")
    opening = OpenSession(id=shown.id, hash=shown.hash, ttl_s=60)
    minted, _ = await store.access_tokens.open_session(opening)
    session = parse_shown(minted.text)
    assert session is not None
    for _ in range(2):
        await store.access_tokens.close_session(session.id)
        assert await who(store, session) is None
    assert await who(store, shown) is not None


async def test_the_oldest_session_goes_for_one_too_many(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_tokens, "USER_SESSIONS", 2)
    _, shown = await make(store, "ann")
    opening = OpenSession(id=shown.id, hash=shown.hash, ttl_s=60)
    sessions = []
    for _ in range(3):
        minted, _ = await store.access_tokens.open_session(opening)
        sessions.append(parse_shown(minted.text))
        await asyncio.sleep(0.002)  # dates have milliseconds
    known = [await who(store, each) is not None for each in sessions if each is not None]
    assert known == [False, True, True]


async def test_it_is_noted_now_and_then_that_a_token_is_used(store: MongoStore) -> None:
    await make(store, "ann")
    (token,) = await store.access_tokens.list("ann")
    assert token.used_at is None
    await store.access_tokens.note_used(token.id)
    (first,) = await store.access_tokens.list("ann")
    assert first.used_at is not None
    await asyncio.sleep(0.002)
    await store.access_tokens.note_used(token.id)
    assert await store.access_tokens.list("ann") == [first]


async def test_nobody_inherits_a_token(store: MongoStore) -> None:
    """A name may be given again; what was made for it before must not speak for its new owner."""
    await make(store, "root")
    with pytest.raises(NotFound, match="no user 'ann'"):
        await store.users.make_token("ann", token_of())
    for n in range(8):
        await make(store, "ann", number=7)
        made, _ = await asyncio.gather(
            store.users.make_token("ann", token_of()),
            store.users.remove("ann"),
            return_exceptions=True,
        )
        assert isinstance(made, tuple | NotFound), n
        assert await store.database[ACCESS_TOKENS].count_documents({"user": "ann"}) == 0


async def test_a_first_user_who_could_not_go_on_is_refused(store: MongoStore) -> None:
    lesser = NewPat(name="laptop", ttl_s=3600, role=Role.VIEWER)
    with pytest.raises(NotPossible, match="with a token"):
        await store.users.make(
            MakeUser(name="ann", role=Role.ADMIN, pat=lesser), token_of(Role.VIEWER)
        )


async def test_tokens_of_all_are_listed_as_far_as_one_answer_goes(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ann", "bob", "cem"):
        await make(store, name)
    tokens, more = await store.access_tokens.list_all()
    assert (len(tokens), more) == (3, False)
    monkeypatch.setattr(access_tokens, "TOKENS_LISTED", 2)
    some, more = await store.access_tokens.list_all()
    assert (len(some), more) == (2, True)
