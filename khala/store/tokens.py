"""Join tokens: made by an operator, used up by nodes, one compare-and-set each.

A token is `_id`, the hash of its secret, its role, and how often it may be used until when. Each
use is remembered by the fingerprint of the key that got a certificate for it: a joiner whose answer
was lost asks again with the same key, and has used the token once. The dates are compared with the
clock of the judicator that is asked; a token lives for minutes or days, not for a moment. The
server removes a token a day after its end, so that a late joiner is told what happened to it.
"""

from __future__ import annotations

import hmac
from datetime import timedelta

from msgspec import Struct
from pymongo import ReturnDocument

from khala.model.dates import utc_now
from khala.model.errors import NotFound, Rejected
from khala.model.tokens import hash_secret
from khala.pki.token import Token
from khala.protocol.joining import TokenRecord
from khala.store.codec import Database, Document
from khala.store.failures import changing, reading
from khala.store.schema import TOKENS

#: Tokens at a time; an operator makes one for a roll-out, not for each node.
TOKENS_MAX = 1000
#: How long an ended token is still known by its reason.
REMEMBERED = timedelta(days=1)
_FLAG = "--join-token-file"


class Use(Struct, frozen=True, kw_only=True):
    """Someone shows a token."""

    token: str
    secret: str
    role: str
    #: Of the public key that is to be certified.
    fingerprint: str


class MongoTokens:
    def __init__(self, database: Database) -> None:
        self._tokens = database[TOKENS]

    async def prepare(self) -> None:
        """Let the server remove what has ended."""
        with changing():
            await self._tokens.create_index("removed_at", expireAfterSeconds=0)

    async def add(self, token: Token, life: timedelta, uses: int) -> TokenRecord:
        now = utc_now()
        document: Document = {
            "_id": token.id,
            "hash": hash_secret(token.secret),
            "role": token.role,
            "created_at": now,
            "expires_at": now + life,
            "removed_at": now + life + REMEMBERED,
            "uses": uses,
            "uses_left": uses,
            "used_by": [],
        }
        with reading():
            known = await self._tokens.count_documents({}, limit=TOKENS_MAX)
        if known >= TOKENS_MAX:
            raise Rejected(f"there are {TOKENS_MAX} tokens; revoke some: khala.pex token revoke ID")
        with changing():
            await self._tokens.insert_one(document)
        return _record(document)

    async def use(self, use: Use) -> None:
        """Precondition: the secret is right, the role is the token's, it has not expired, and a use
        is left or this key has used it. Raise `Rejected` saying which of these does not hold."""
        now = utc_now()
        valid: Document = {
            "_id": use.token,
            "hash": hash_secret(use.secret),
            "role": use.role,
            "expires_at": {"$gt": now},
        }
        with changing():
            taken = await self._tokens.find_one_and_update(
                {**valid, "uses_left": {"$gt": 0}, "used_by": {"$ne": use.fingerprint}},
                {"$inc": {"uses_left": -1}, "$push": {"used_by": use.fingerprint}},
                return_document=ReturnDocument.AFTER,
            )
        if taken is not None:
            return
        with reading():
            found = await self._tokens.find_one({"_id": use.token})
        why = _why_not(found, use)
        if why is not None:
            raise Rejected(
                f"{_FLAG}: {why}; make another on a judicator's host:"
                f" khala.pex token create --role {use.role}",
                field=_FLAG,
            )

    async def list(self) -> list[TokenRecord]:
        """Those that can still be used, the latest last."""
        with reading():
            found = (
                await self._tokens.find({"expires_at": {"$gt": utc_now()}, "uses_left": {"$gt": 0}})
                .sort("created_at", 1)
                .to_list()
            )
        return [_record(document) for document in found]

    async def revoke(self, token: str) -> None:
        """Raise `NotFound` for one that is not there."""
        with changing():
            result = await self._tokens.delete_one({"_id": token})
        if not result.deleted_count:
            raise NotFound(f"there is no token {token[:40]!r}; khala.pex token ls shows them")


def _why_not(found: Document | None, use: Use) -> str | None:
    """None for a repetition by the same key. A wrong secret is told as a token that is not known:
    whoever guesses learns nothing."""
    if found is None or not hmac.compare_digest(found["hash"], hash_secret(use.secret)):
        return f"the cluster does not know the token {use.token} (any more)"
    if found["role"] != use.role:
        return f"the token {use.token} is for role {found['role']}, not {use.role}"
    if found["expires_at"] <= utc_now():
        return f"the token {use.token} expired at {found['expires_at']:%Y-%m-%d %H:%M:%S} UTC"
    if use.fingerprint in found["used_by"]:
        return None
    return (
        f"the token {use.token} has been used {found['uses']} times, which is all it was made for"
    )


def _record(document: Document) -> TokenRecord:
    return TokenRecord(
        id=document["_id"],
        role=document["role"],
        created_at=document["created_at"],
        expires_at=document["expires_at"],
        uses=document["uses"],
        uses_left=document["uses_left"],
    )
