"""One node of the cluster, and executors that are gone for good."""

from __future__ import annotations

import pytest

from khala.model.ids import SessionNo
from khala.protocol.doctor import Examination, Level, Line, Report
from tests.store.samples import a_hello
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.operations_double import AT

#: As the double's cluster has them.
ONLINE, LOST, JUDICATOR = "executor.1", "gone", "judicator"


@pytest.fixture
async def executors(site: Site) -> None:
    """The same in the store behind it."""
    sessions = site.judicator.memory.sessions
    for name in (ONLINE, LOST):
        opened = await sessions.open_session(a_hello(name))
    await sessions.expire_session(a_hello(LOST).name, SessionNo(opened.session))


async def ask(site: Site, method: str, name: str) -> tuple[int, dict[str, object]]:
    async with site.http.request(method, site.url(f"/api/v2/nodes/{name}")) as response:
        return response.status, await response.json(content_type=None) or {}


@pytest.mark.usefixtures("executors")
async def test_one_node_is_shown_as_in_the_list(site: Site) -> None:
    async with site.http.get(site.url("/api/v2/nodes")) as response:
        everything = await response.json()
    status, found = await ask(site, "GET", ONLINE)
    assert (status, found["name"], found["running"]) == (200, ONLINE, 0)
    assert found["executor"] == everything["executors"][0]
    assert found["judicator"] is None
    status, found = await ask(site, "GET", JUDICATOR)
    assert found["judicator"] == everything["judicators"][0]
    assert found["executor"] is None


async def test_one_that_is_not_there_is_named(site: Site) -> None:
    for method in ("GET", "DELETE"):
        status, problem = await ask(site, method, "nobody")
        assert (status, problem["code"]) == (404, "not_found")
        assert "'nobody'" in str(problem["detail"])


@pytest.mark.usefixtures("executors")
async def test_only_what_is_lost_is_forgotten(site: Site) -> None:
    status, problem = await ask(site, "DELETE", ONLINE)
    assert (status, problem["code"]) == (409, "not_possible")
    assert "is not lost" in str(problem["detail"])
    assert await ask(site, "DELETE", LOST) == (204, {})
    assert (await ask(site, "DELETE", LOST))[0] == 404


@pytest.mark.usefixtures("executors")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{ONLINE}/cordon"),
        ("POST", f"{ONLINE}/drain"),
        ("DELETE", f"{ONLINE}/cordon"),
        ("DELETE", LOST),
    ],
)
async def test_whoever_changed_a_node_sees_it_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """What the judicators said is shared for a moment, and not over a change."""
    await ask(site, "GET", ONLINE)
    monkeypatch.setattr("roles.gateway.cluster.FRESH_S", 3600.0)
    looks = site.judicator.looks
    assert (await ask(site, method, path))[0] in {200, 204}
    assert site.judicator.looks == looks
    await ask(site, "GET", ONLINE)
    await ask(site, "GET", ONLINE)
    assert site.judicator.looks == looks + 1


async def test_a_judicator_leaves_otherwise(site: Site) -> None:
    status, problem = await ask(site, "DELETE", JUDICATOR)
    assert (status, problem["code"]) == (409, "not_possible")
    assert "khala.pex cluster remove judicator" in str(problem["detail"])


async def test_what_its_host_lacks_is_shown_by_role(site: Site) -> None:
    path = f"{JUDICATOR}/doctor"
    assert await ask(site, "GET", path) == (200, {"items": []})
    line = Line(
        check="clock", roles=("judicator",), level=Level.WARNING, found="late", repair="set it"
    )
    report = Report(able=True, roles=("judicator",), lines=[line])
    found = Examination(role="judicator", at=AT, report=report)
    site.judicator.operations.examinations[JUDICATOR] = [found]
    finding = {"check": "clock", "level": "warning", "found": "late", "repair": "set it"}
    item = {"role": "judicator", "at": "2026-11-24T00:00:00.000Z", "able": True}
    assert await ask(site, "GET", path) == (200, {"items": [item | {"findings": [finding]}]})
    status, problem = await ask(site, "GET", "nobody/doctor")
    assert (status, problem["code"]) == (404, "not_found")
