"""Personal tokens, the sessions that began with them, tickets for one request, and whom they stand
for.

Of a secret its hash alone is stored. Tokens are made in `khala.store.users`, beside their users'
removal, which they must not meet. A session is a document of its own that names its token; it
allows what that allows and is nothing without it. A ticket has what its maker showed, which is
looked at when it is used. What has expired is refused by its date, and the server removes it later.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from pymongo import DESCENDING

from khala.model.access import AccessToken, Identity, Role
from khala.model.access_limits import (
    TICKET_LIFE_S,
    TICKETS,
    TOKENS_LISTED,
    USER_SESSIONS,
    USER_TOKENS,
)
from khala.model.errors import NotFound, OutcomeUnknown, Unavailable
from khala.model.tokens import Minted, Shown, TokenKind, mint
from khala.protocol.access import (
    Identified,
    Identify,
    MakeTicket,
    OpenSession,
    TicketUsed,
    UseTicket,
)
from khala.store.codec import Collection, Database, Document
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import ACCESS_SESSIONS, ACCESS_TICKETS, ACCESS_TOKENS, USERS

#: How often it is noted that a token was used.
USED_STEP = timedelta(minutes=1)


class NewToken(Struct, frozen=True, kw_only=True):
    """What a token is made of."""

    name: str
    role: Role
    life: timedelta


class MongoAccessTokens:
    def __init__(self, database: Database) -> None:
        self._tokens = database[ACCESS_TOKENS]
        self._sessions = database[ACCESS_SESSIONS]
        self._tickets = database[ACCESS_TICKETS]
        self._users = database[USERS]

    async def prepare(self) -> None:
        with changing():
            for collection in (self._tokens, self._sessions):
                await collection.create_index("expires_at", expireAfterSeconds=0)
                await collection.create_index([("user", 1), ("created_at", -1)])
            await self._tickets.create_index("expires_at", expireAfterSeconds=0)
            await self._tickets.create_index([("maker", 1), ("created_at", -1)])
            await self._tokens.create_index([("created_at", -1)])
            await self._sessions.create_index("token")

    async def identify(self, shown: Identify) -> Identified:
        """Whom it stands for now. Two reads for what is not known, four at the most."""
        with reading():
            if not shown.id:
                any_user = await self._users.find_one({}, {"_id": 1})
                return Identified(has_users=any_user is not None)
            token = await self._valid(shown)
            user = None if token is None else await self._users.find_one({"_id": token["user"]})
            if token is None or user is None or user["disabled"]:
                has_users = user is not None or await self._users.find_one({}, {"_id": 1})
                return Identified(has_users=bool(has_users))
        allowed, own = Role(token["role"]), Role(user["role"])
        return Identified(
            has_users=True,
            identity=Identity(
                role=allowed if own.may(allowed) else own,
                name=user["_id"],
                number=user["number"],
                token=token["_id"],
                expires_at=token["expires_at"],
            ),
        )

    async def _valid(self, shown: Identify) -> Document | None:
        """The token that was shown, or the one that the session began with and the date of the
        session's end."""
        now = utc_now()
        token = await self._tokens.find_one({"_id": shown.id})
        if token is not None:
            return token if _matches(token, shown, now=now) else None
        session = await self._sessions.find_one({"_id": shown.id})
        if session is None or not _matches(session, shown, now=now):
            return None
        token = await self._tokens.find_one({"_id": session["token"]})
        if token is None or token["expires_at"] <= now:
            return None
        return {**token, "expires_at": min(token["expires_at"], session["expires_at"])}

    async def note_used(self, token: str) -> None:
        """At most once in `USED_STEP`."""
        now = to_ms(utc_now())
        unused = [{"used_at": {"$exists": False}}, {"used_at": {"$lt": now - USED_STEP}}]
        with changing():
            await self._tokens.update_one({"_id": token, "$or": unused}, {"$set": {"used_at": now}})

    async def list_all(self) -> tuple[list[AccessToken], bool]:
        """The latest of all users', and whether there are older ones."""
        found = await self._list({}, TOKENS_LISTED + 1)
        return found[:TOKENS_LISTED], len(found) > TOKENS_LISTED

    async def _list(self, whose: Document, limit: int) -> list[AccessToken]:
        valid: Document = {**whose, "expires_at": {"$gt": utc_now()}}
        with reading():
            found = (
                await self._tokens.find(valid).sort("created_at", DESCENDING).limit(limit).to_list()
            )
        return [token_of(document) for document in found]

    async def list(self, user: str) -> list[AccessToken]:
        """Of one user, the latest first."""
        return await self._list({"user": user}, USER_TOKENS)

    async def revoke(self, token: str, user: str | None) -> str:
        """Whose it was. Its sessions end with it. Raise `NotFound` if there is none, or it is not
        of `user`."""
        wanted: Document = {"_id": token} if user is None else {"_id": token, "user": user}
        with changing():
            found = await self._tokens.find_one_and_delete(wanted)
            if found is not None:
                await self._sessions.delete_many({"token": token})
        if found is None:
            raise NotFound(f"there is no token {token[:40]!r}; GET /api/v2/tokens shows them")
        owner: str = found["user"]
        return owner

    async def open_session(self, given: OpenSession) -> tuple[Minted, Document]:
        """Precondition: the token is good. Beyond `USER_SESSIONS` the user's oldest one ends."""
        with reading():
            token = await self._tokens.find_one({"_id": given.id})
        now = to_ms(utc_now())
        shown = Identify(id=given.id, hash=given.hash)
        if token is None or not _matches(token, shown, now=now):
            raise NotFound("there is no such token, or it has expired")
        minted = mint(TokenKind.SESSION)
        document: Document = {
            "_id": minted.id,
            "hash": minted.hash,
            "user": token["user"],
            "token": token["_id"],
            "created_at": now,
            "expires_at": min(token["expires_at"], now + timedelta(seconds=given.ttl_s)),
        }
        with changing():
            await self._sessions.insert_one(document)
            await _end_oldest(self._sessions, document, "user", USER_SESSIONS)
        return minted, document

    async def close_session(self, session: str) -> None:
        """Also one that is not there."""
        with changing():
            await self._sessions.delete_one({"_id": session})

    async def make_ticket(self, given: MakeTicket) -> datetime:
        """When it ends. Beyond `TICKETS` its maker's oldest one goes."""
        now = to_ms(utc_now())
        expires_at = now + timedelta(seconds=TICKET_LIFE_S)
        document: Document = {
            "_id": given.id,
            "hash": given.hash,
            "maker": given.by.id if given.by else "",
            "created_at": now,
            "expires_at": expires_at,
        }
        if given.by is not None:
            document["by"] = msgspec.to_builtins(given.by)
        with changing():
            await self._tickets.insert_one(document)
            await _end_oldest(self._tickets, document, "maker", TICKETS)
        return expires_at

    async def use_ticket(self, given: UseTicket) -> TicketUsed:
        """Of all who come with it at once, one gets it; then it is gone, also after
        `OutcomeUnknown`."""
        wanted = {"_id": given.id, "hash": {"$in": given.hashes}, "expires_at": {"$gt": utc_now()}}
        with changing():
            ticket = await self._tickets.find_one_and_delete(wanted)
        if ticket is None:
            return TicketUsed()
        if "by" not in ticket:
            return TicketUsed(hash=ticket["hash"])
        by = msgspec.convert(ticket["by"], Shown)
        try:
            found = await self.identify(Identify(id=by.id, hash=by.hash))
        except Unavailable as error:
            raise OutcomeUnknown(error.message) from error
        return TicketUsed(hash=ticket["hash"], by=by, identity=found.identity)


async def _end_oldest(collection: Collection, latest: Document, whose: str, most: int) -> None:
    """After an insert: of several that are made at once, the last to look sees all of them."""
    others = {whose: latest[whose], "_id": {"$ne": latest["_id"]}}
    oldest = (
        await collection.find(others, {"_id": 1})
        .sort("created_at", DESCENDING)
        .skip(most - 1)
        .to_list()
    )
    await collection.delete_many({"_id": {"$in": [each["_id"] for each in oldest]}})


def token_document(user: str, given: NewToken) -> tuple[Minted, Document]:
    minted, now = mint(TokenKind.PERSONAL), to_ms(utc_now())
    return minted, {
        "_id": minted.id,
        "hash": minted.hash,
        "user": user,
        "name": given.name,
        "role": given.role.value,
        "created_at": now,
        "expires_at": now + given.life,
    }


def token_of(document: Document) -> AccessToken:
    return AccessToken(
        id=document["_id"],
        user=document["user"],
        name=document["name"],
        role=Role(document["role"]),
        created_at=document["created_at"],
        expires_at=document["expires_at"],
        used_at=document.get("used_at"),
    )


def _matches(document: Document, shown: Identify, *, now: object) -> bool:
    same = hmac.compare_digest(document["hash"].encode(), shown.hash.encode())
    return same and document["expires_at"] > now
