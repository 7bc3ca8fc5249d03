"""What operators do with the cluster as a whole: how it is asked of the judicators and shown."""

from __future__ import annotations

from typing import Any

import pytest

from khala.client import AsyncKhala
from khala.model.errors import NotPossible
from khala.model.retention import Retention
from khala.protocol.retention import Forget
from tests.unit.gateway.conftest import Site

TOKENS = "/api/v2/cluster/join-tokens"


async def ask(site: Site, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    async with site.http.request(method, site.url(path), json=document) as response:
        return response.status, await response.json(content_type=None)


async def test_what_goes_is_what_the_judicators_are_set_to(site: Site) -> None:
    double = site.judicator.operations
    double.keep = Retention(age_s=60.0)
    double.forgets.clear()
    async with AsyncKhala(site.base) as khala:
        found = await khala.collect(dry_run=True)
        assert (found.dry_run, found.kept.age_s, found.kept.count) == (True, 60.0, None)
        assert (found.tasks, found.jobs, found.needed, found.more) == (3, 1, 2, True)
        assert not (await khala.collect(dry_run=False)).dry_run
    assert double.forgets == [Forget(dry_run=True), Forget(dry_run=False)]


@pytest.mark.parametrize("document", [{}, {"dry_run": 1}, {"dry_run": True, "keep": {}}])
async def test_nothing_goes_unless_that_was_said(site: Site, document: Any) -> None:
    site.judicator.operations.keep = Retention(age_s=60.0)
    site.judicator.operations.forgets.clear()
    status, problem = await ask(site, "POST", "/api/v2/gc", document)
    assert (status, problem["code"]) == (422, "validation_failed")
    assert site.judicator.operations.forgets == []


async def test_a_join_token_is_made_listed_and_revoked(site: Site) -> None:
    async with AsyncKhala(site.base) as khala:
        made = await khala.create_join_token("executor", expires_in="90m", uses=3)
        record = made.record
        assert made.token == f"KH1::{record.id}"
        assert (record.role, record.uses, record.uses_left) == ("executor", 3, 3)
        assert (record.expires_at - record.created_at).total_seconds() == 5400
        assert await khala.join_tokens() == [record]
        await khala.revoke_join_token(record.id)
        assert await khala.join_tokens() == []
    for unknown in (record.id, "nonsense", "..%2fmembers"):
        status, problem = await ask(site, "DELETE", f"{TOKENS}/{unknown}")
        assert (status, problem["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/role"),
        ({"role": "root"}, "/role"),
        ({"role": "executor", "expires_in": "31d"}, "/expires_in"),
        ({"role": "executor", "expires_in": 0}, "/expires_in"),
        ({"role": "executor", "expires_in": "soon"}, "/expires_in"),
        ({"role": "executor", "uses": 1001}, "/uses"),
    ],
)
async def test_a_join_token_has_bounds(site: Site, document: Any, pointer: str) -> None:
    status, problem = await ask(site, "POST", TOKENS, document)
    assert (status, problem["errors"][0]["pointer"]) == (422, pointer)
    assert site.judicator.operations.tokens == {}


async def test_what_the_cluster_does_not_allow_is_told_as_that(site: Site) -> None:
    site.judicator.broken = NotPossible("this cluster has no certificates")
    try:
        status, problem = await ask(site, "POST", TOKENS, {"role": "executor"})
    finally:
        site.judicator.broken = None
    assert (status, problem["code"]) == (409, "not_possible")
    assert problem["detail"] == "this cluster has no certificates"


async def test_another_judicator_leads(site: Site) -> None:
    async with AsyncKhala(site.base) as khala:
        moved = await khala.transfer_leadership("b")
        assert (moved.leader, moved.before) == ("b", "a")
        moved = await khala.transfer_leadership("a")
        assert (moved.leader, moved.before) == ("a", "b")
    path = "/api/v2/cluster/transfer-leadership"
    for nobody in ({}, {"to": None}, None):
        assert (await ask(site, "POST", path, nobody))[1]["leader"] == "b"
    status, problem = await ask(site, "POST", path, {"to": "x"})
    assert (status, problem["code"]) == (404, "not_found")
    assert "there are: a, b" in problem["detail"]
