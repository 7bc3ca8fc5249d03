"""What operators' commands do that ask a gateway; they say what those on a host say."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from khala.client import AsyncKhala
from khala.model.retention import Forgotten, Retention
from khala.protocol import v2
from khala.protocol.joining import TokenMade, TokenRecord
from khala.protocol.leadership import Transferred
from khala.protocol.retention import Answer
from roles.operators import add, tell_forgotten, tell_token, tell_tokens, tell_transferred


async def collect(khala: AsyncKhala, *, dry_run: bool, as_json: bool) -> int:
    """Of a dry run what one answer says, else until nothing more is to go."""
    total, more = Forgotten(), True
    while more:
        found = await khala.collect(dry_run=dry_run)
        total = add(total, msgspec.convert(found, Forgotten, from_attributes=True))
        more = found.more and not dry_run
    keep = msgspec.convert(found.kept, Retention, from_attributes=True)
    tell_forgotten(Answer(keep=keep, forgotten=total), dry_run=dry_run, as_json=as_json)
    return 0


async def create_token(khala: AsyncKhala, role: str, ttl_s: float, uses: int) -> int:
    made = await khala.create_join_token(role, expires_in=ttl_s, uses=uses)
    tell_token(TokenMade(token=made.token, record=_record(made.record)))
    return 0


async def list_tokens(khala: AsyncKhala) -> int:
    return _tell(await khala.join_tokens())


async def revoke_token(khala: AsyncKhala, token: str) -> int:
    """Show those that are left."""
    await khala.revoke_join_token(token)
    return _tell(await khala.join_tokens())


async def transfer(khala: AsyncKhala, to: str | None) -> int:
    moved = await khala.transfer_leadership(to)
    tell_transferred(msgspec.convert(moved, Transferred, from_attributes=True), to)
    return 0


def _tell(tokens: Sequence[v2.JoinToken]) -> int:
    tell_tokens([_record(each) for each in tokens])
    return 0


def _record(token: v2.JoinToken) -> TokenRecord:
    return msgspec.convert(token, TokenRecord, from_attributes=True)
