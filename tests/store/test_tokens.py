"""Join tokens on a real mongod: used as often as they may be, refused with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from msgspec.structs import replace

from khala.model.errors import NotFound, Rejected
from khala.pki.authority import Authority
from khala.pki.token import Token, make_token
from khala.store.mongo import MongoStore
from khala.store.schema import TOKENS
from khala.store.tokens import MongoTokens, Use

HOUR = timedelta(hours=1)
AUTHORITY = Authority.create("test").certificate


@pytest_asyncio.fixture(loop_scope="session")
async def tokens(mongo: MongoStore) -> AsyncIterator[MongoTokens]:
    store = MongoTokens(mongo.database)
    await store.prepare()
    yield store
    await mongo.database[TOKENS].delete_many({})


def use(token: Token, key: str = "k1") -> Use:
    return Use(token=token.id, secret=token.secret, role=token.role, fingerprint=key)


async def test_a_token_is_used_as_often_as_it_may_be_whoever_races(tokens: MongoTokens) -> None:
    token = make_token("executor", AUTHORITY)
    await tokens.add(token, HOUR, 3)
    tries = (tokens.use(use(token, f"k{n}")) for n in range(12))
    results = await asyncio.gather(*tries, return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert len(refused) == 9
    for error in refused:
        assert isinstance(error, Rejected)
        assert "has been used 3 times" in error.message
        assert "token create --role executor" in error.message
    assert await tokens.list() == []


async def test_who_lost_the_answer_asks_again_without_a_second_use(tokens: MongoTokens) -> None:
    token = make_token("executor", AUTHORITY)
    await tokens.add(token, HOUR, 1)
    for _ in range(3):
        await tokens.use(use(token))
    with pytest.raises(Rejected, match="has been used 1 times"):
        await tokens.use(use(token, "k2"))


async def test_each_refusal_has_its_reason(tokens: MongoTokens) -> None:
    token = make_token("executor", AUTHORITY)
    await tokens.add(token, HOUR, 1)
    unknown = make_token("executor", AUTHORITY)
    with pytest.raises(Rejected, match=f"does not know the token {unknown.id}"):
        await tokens.use(use(unknown))
    with pytest.raises(Rejected, match=f"does not know the token {token.id}"):
        await tokens.use(replace(use(token), secret=unknown.secret))
    with pytest.raises(Rejected, match="is for role executor, not judicator"):
        await tokens.use(replace(use(token), role="judicator"))
    old = make_token("gateway", AUTHORITY)
    await tokens.add(old, -HOUR, 1)
    with pytest.raises(Rejected, match="expired at"):
        await tokens.use(use(old))
    assert [record.id for record in await tokens.list()] == [token.id]
    await tokens.use(use(token))


async def test_a_revoked_token_is_over(tokens: MongoTokens) -> None:
    token = make_token("gateway", AUTHORITY)
    record = await tokens.add(token, HOUR, 2)
    assert (record.uses, record.uses_left, record.role) == (2, 2, "gateway")
    await tokens.revoke(token.id)
    with pytest.raises(Rejected, match="does not know the token"):
        await tokens.use(use(token))
    with pytest.raises(NotFound, match="token ls shows them"):
        await tokens.revoke(token.id)


async def test_the_secret_is_not_stored(tokens: MongoTokens, mongo: MongoStore) -> None:
    token = make_token("executor", AUTHORITY)
    await tokens.add(token, HOUR, 1)
    assert token.secret not in str(await mongo.database[TOKENS].find_one({"_id": token.id}))
