"""Users, and the rule that somebody is left who may make others.

Two administrators who disable each other at the same moment, at two judicators, must not both
succeed. Each change of users is therefore a transaction that begins by writing one document, the
guard: of two changes at once the server lets one pass and repeats the other, which then sees what
the first has done. Changes of users are rare; nothing else waits for them.

Numbers are KV2's `user`. One that was given is not given again by itself, also when its user is
gone, because that one's tasks are still there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pymongo
from pymongo import DESCENDING
from pymongo.asynchronous.client_session import AsyncClientSession

from khala.model.access import AccessToken, Role, User
from khala.model.access_limits import USER_NUMBER_MAX, USER_TOKENS, USERS
from khala.model.errors import AlreadyThere, LastAdmin, NotFound, NotPossible, Rejected
from khala.model.limits import STORE_TIMEOUT_S
from khala.model.tokens import Minted
from khala.protocol.access import ChangeUser, MakeUser
from khala.store.access_tokens import NewToken, token_document, token_of
from khala.store.codec import Database, Document
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import ACCESS_SESSIONS, ACCESS_TOKENS, META
from khala.store.schema import USERS as COLLECTION

Answer = TypeVar("Answer")

_GUARD: Document = {"_id": "users"}
_ADMIN: Document = {"role": Role.ADMIN.value, "disabled": False}
#: A change that meets others begins anew for so long.
_PATIENCE_S = 2 * STORE_TIMEOUT_S


class MongoUsers:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._users = database[COLLECTION]
        self._meta = database[META]

    async def prepare(self) -> None:
        with changing():
            await self._users.create_index("number", unique=True)
            await self._meta.update_one(
                _GUARD, {"$setOnInsert": {"version": 0, "next": 1}}, upsert=True
            )

    async def any(self) -> bool:
        with reading():
            return await self._users.find_one({}, {"_id": 1}) is not None

    async def list(self) -> list[User]:
        """By name."""
        with reading():
            return [user_of(doc) for doc in await self._users.find().sort("_id", 1).to_list()]

    async def get(self, name: str) -> User:
        """Raise `NotFound`."""
        with reading():
            document = await self._users.find_one({"_id": name})
        if document is None:
            raise _unknown(name)
        return user_of(document)

    async def make(
        self, given: MakeUser, token: NewToken | None
    ) -> tuple[User, AccessToken | None, Minted | None]:
        """Precondition: neither its name nor its number is taken, there are less than `USERS`, and
        if there are none it is an administrator with a token."""
        minted = None

        async def work(session: AsyncClientSession) -> tuple[Document, Document | None]:
            nonlocal minted
            guard = await self._enter(session)
            count = await self._users.count_documents({}, session=session)
            _check_first(given, first=count == 0)
            if count >= USERS:
                raise Rejected(
                    f"there are {USERS} users, the most that there may be; remove one that is not"
                    " needed any more, by DELETE /api/v2/users/NAME or khala.pex user rm",
                    field="name",
                )
            if await self._users.find_one({"_id": given.name}, {"_id": 1}, session=session):
                raise AlreadyThere(f"name: there is a user {given.name} already", field="name")
            number = await self._number(given.number, guard, session)
            document: Document = {
                "_id": given.name,
                "number": number,
                "role": given.role.value,
                "created_at": to_ms(utc_now()),
                "disabled": False,
            }
            await self._users.insert_one(document, session=session)
            if token is None:
                return document, None
            minted, stored = token_document(given.name, token)
            await self._database[ACCESS_TOKENS].insert_one(stored, session=session)
            return document, stored

        document, stored = await self._change(work)
        return user_of(document), token_of(stored) if stored else None, minted

    async def change(self, name: str, given: ChangeUser) -> User:
        """Precondition: it exists, and somebody stays who may make users."""

        async def work(session: AsyncClientSession) -> Document:
            await self._enter(session)
            known = await self._known(name, session)
            wanted: Document = {
                "role": known["role"] if given.role is None else given.role.value,
                "disabled": known["disabled"] if given.disabled is None else given.disabled,
            }
            if wanted != _ADMIN:
                await self._require_another(known, session)
            await self._users.update_one({"_id": name}, {"$set": wanted}, session=session)
            return {**known, **wanted}

        return user_of(await self._change(work))

    async def remove(self, name: str) -> None:
        """Precondition: as of `change`, so that a cluster with users never becomes one without,
        which would let everybody in. Its tokens and sessions go with it, its tasks stay."""

        async def work(session: AsyncClientSession) -> None:
            await self._enter(session)
            known = await self._known(name, session)
            await self._require_another(known, session)
            for collection in (ACCESS_SESSIONS, ACCESS_TOKENS):
                await self._database[collection].delete_many({"user": name}, session=session)
            await self._users.delete_one({"_id": name}, session=session)

        await self._change(work)

    async def make_token(self, name: str, given: NewToken) -> tuple[AccessToken, Minted]:
        """Precondition: the user exists, and has less than `USER_TOKENS`. One that was made while
        its user is removed would speak for the next one of that name."""

        async def work(session: AsyncClientSession) -> tuple[AccessToken, Minted]:
            await self._enter(session)
            await self._known(name, session)
            tokens = self._database[ACCESS_TOKENS]
            count = await tokens.count_documents({"user": name}, limit=USER_TOKENS, session=session)
            if count >= USER_TOKENS:
                raise Rejected(
                    f"{name} has {USER_TOKENS} tokens, the most that a user may have; revoke some"
                )
            minted, stored = token_document(name, given)
            await tokens.insert_one(stored, session=session)
            return token_of(stored), minted

        return await self._change(work)

    async def _change(self, work: Callable[[AsyncClientSession], Awaitable[Answer]]) -> Answer:
        with changing(), pymongo.timeout(_PATIENCE_S):
            async with self._database.client.start_session() as session:
                return await session.with_transaction(work)

    async def _enter(self, session: AsyncClientSession) -> Document:
        """Whoever writes this first is alone with the users until it is done."""
        guard: Document | None = await self._meta.find_one_and_update(
            _GUARD, {"$inc": {"version": 1}}, session=session
        )
        if guard is None:
            raise NotPossible("this judicator has not prepared the store for users; restart it")
        return guard

    async def _known(self, name: str, session: AsyncClientSession) -> Document:
        document: Document | None = await self._users.find_one({"_id": name}, session=session)
        if document is None:
            raise _unknown(name)
        return document

    async def _require_another(self, known: Document, session: AsyncClientSession) -> None:
        """Raise `LastAdmin` if it is the only one."""
        if {key: known[key] for key in _ADMIN} != _ADMIN:
            return
        others = {**_ADMIN, "_id": {"$ne": known["_id"]}}
        if await self._users.count_documents(others, limit=1, session=session) == 0:
            raise LastAdmin(
                f"{known['_id']} is the last administrator that is not disabled; make another user"
                " one first"
            )

    async def _next(self, guard: Document, session: AsyncClientSession) -> int:
        """In a store that was restored there may be users whose numbers the guard does not know:
        it was copied before them."""
        highest = await self._users.find_one(
            {}, {"number": 1}, sort=[("number", DESCENDING)], session=session
        )
        number: int = guard["next"]
        return number if highest is None else max(number, highest["number"] + 1)

    async def _number(
        self, wanted: int | None, guard: Document, session: AsyncClientSession
    ) -> int:
        """One that was never given, or the wanted one if nobody has it."""
        number = await self._next(guard, session) if wanted is None else wanted
        if number > USER_NUMBER_MAX:
            raise Rejected(
                f"number: {USER_NUMBER_MAX}, the highest one, has been given; say which one it is"
                " to be",
                field="number",
            )
        other = await self._users.find_one({"number": number}, {"_id": 1}, session=session)
        if other is not None:
            raise AlreadyThere(
                f"number: {number} is that of {other['_id']}; leave it out to get the next one",
                field="number",
            )
        await self._meta.update_one(_GUARD, {"$max": {"next": number + 1}}, session=session)
        return number


def user_of(document: Document) -> User:
    return User(
        name=document["_id"],
        number=document["number"],
        role=Role(document["role"]),
        created_at=document["created_at"],
        disabled=document["disabled"],
    )


def _check_first(given: MakeUser, *, first: bool) -> None:
    lesser = given.pat is None or given.pat.role not in (None, Role.ADMIN)
    if first and (given.role is not Role.ADMIN or lesser):
        raise NotPossible(
            "the first user must be an administrator with a token of that role: from then on nobody"
            " is let in without one, and only administrators make users"
        )


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no user {name[:80]!r}; GET /api/v2/users shows them")
