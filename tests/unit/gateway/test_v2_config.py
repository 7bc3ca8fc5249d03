"""What a cluster was told: judicators' settings, where they differ, a gateway's limits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from khala.client import AsyncKhala
from khala.model.cluster_settings import ClusterSettings
from khala.model.errors import Changed, NotFound, NotPossible, Rejected, Unavailable
from khala.model.keeping import EARLIER_WORDS, NOTICE, ToldKeeping
from khala.model.limits import QUOTA_USERS
from khala.model.quota import ToldQuota, ToldQuotas
from khala.model.retention import Retention
from khala.net.client import JudicatorClient
from khala.protocol.settings import JudicatorSettings
from roles.gateway.v2_config import differing
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.operations_double import SETTINGS

CONFIG = "/api/v2/cluster/config"
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
NOTHING = {"queued": None, "running": None, "cpu_s": None, "stored_bytes": None}
RETENTION = {"age_s": None, "count": None, "size_bytes": None}
KEEPING = {
    "retention": RETENTION,
    "audit_s": None,
    "backups_kept": None,
    "changed_at": None,
    "less_from": None,
}


@pytest.fixture(autouse=True)
def _anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test may have had another cluster before it a moment ago."""
    monkeypatch.setattr("roles.gateway.cluster.FRESH_S", -1.0)
    monkeypatch.setattr(site.judicator.operations, "set", ClusterSettings())
    monkeypatch.setattr(site.judicator.operations, "hastened", 0)


async def test_what_each_was_told(site: Site) -> None:
    async with site.http.get(site.url(CONFIG)) as response:
        found = await response.json()
        assert response.headers["ETag"] == '"0"'
    gateway = found.pop("gateway")
    assert found == {
        "quotas": {"revision": 0, "default": NOTHING, "users": {}},
        "keeping": KEEPING,
        "judicators": [
            {
                "name": "judicator",
                "retention": {"age_s": 3600.0, "count": None, "size_bytes": None},
                "quotas": {
                    "default": NOTHING | {"queued": 10},
                    "users": {"7": NOTHING | {"cpu_s": 60}},
                },
                "audit_s": 86400.0,
                "backups_kept": 7,
                "in_force": {
                    "revision": 2,
                    "default": NOTHING | {"queued": 500},
                    "users": {},
                },
                "keeping": {
                    "retention": {"age_s": 7200.0, "count": None, "size_bytes": None},
                    "audit_s": 86400.0,
                    "backups_kept": 9,
                },
            }
        ],
        "differing": [],
        "unreachable": [],
    }
    assert gateway["compile"]["wall_ms"] == gateway["maxima"]["wall_ms"]
    assert gateway["legacy_api"] == "auto"


async def test_one_that_does_not_say_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object, **__: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(JudicatorClient, "ask_at", silent)
    async with AsyncKhala(site.base) as khala:
        found = await khala.cluster_config()
    assert (found.judicators, found.unreachable) == ([], ["judicator"])


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ([], []),
        ([SETTINGS], []),
        ([SETTINGS, replace(SETTINGS, retention=Retention())], ["retention"]),
        ([replace(SETTINGS, in_force=None, revision=0)], []),
        ([replace(SETTINGS, audit_s=1.0, backups_kept=1)], ["audit_s", "backups_kept"]),
    ],
)
def test_what_differs_is_named(others: list[JudicatorSettings], names: list[str]) -> None:
    assert differing([SETTINGS, *others]) == names
    assert differing([]) == []


async def patch(site: Site, document: object, **headers: str) -> tuple[int, Any, str | None]:
    async with site.http.patch(
        site.url(CONFIG), json=document, headers=MERGE_PATCH | headers
    ) as response:
        return response.status, await response.json(), response.headers.get("ETag")


async def test_quotas_are_merged_into_what_is_set(site: Site) -> None:
    first = {"default": {"queued": 500, "running": None}, "users": {"7": {"running": 4}, "8": None}}
    status, answer, tag = await patch(site, {"quotas": first})
    assert (status, tag) == (200, '"1"')
    assert answer["quotas"] == {
        "revision": 1,
        "default": NOTHING | {"queued": 500},
        "users": {"7": NOTHING | {"running": 4}},
    }
    assert answer["judicators"][0]["quotas"]["default"]["queued"] == 10
    more = {"users": {"7": {"queued": 0, "stored_bytes": 1 << 50}, "9": {"cpu_s": 1}}}
    status, answer, tag = await patch(site, {"quotas": more})
    assert tag == '"2"'
    assert site.judicator.operations.set.quotas == ToldQuotas(
        default=ToldQuota(queued=500),
        users={
            7: ToldQuota(queued=0, running=4, size_bytes=1 << 50),
            9: ToldQuota(cpu_s=1),
        },
    )
    less = {"default": None, "users": {"7": {"running": None, "stored_bytes": None}, "9": None}}
    await patch(site, {"quotas": less})
    assert site.judicator.operations.set.quotas == ToldQuotas(users={7: ToldQuota(queued=0)})
    assert (await patch(site, {"quotas": {"users": None}}))[2] == '"4"'
    assert site.judicator.operations.set.quotas == ToldQuotas()


@pytest.mark.parametrize("document", [{}, {"quotas": {}}, {"quotas": {"users": {"7": {}}}}])
async def test_what_changes_nothing_leaves_the_revision(site: Site, document: object) -> None:
    status, answer, tag = await patch(site, document)
    assert (status, tag, answer["quotas"]["revision"]) == (200, '"0"', 0)


async def test_all_that_is_set_is_taken_away_at_once(site: Site) -> None:
    await patch(site, {"quotas": {"default": {"queued": 1}, "users": {"7": {"queued": 2}}}})
    await patch(site, {"quotas": None})
    assert site.judicator.operations.set == ClusterSettings(revision=2)


@pytest.mark.parametrize(
    ("quotas", "pointer", "code", "limit"),
    [
        ({"default": {"queued": -1}}, "/default/queued", "below_minimum", 0),
        ({"default": {"running": 10**6 + 1}}, "/default/running", "above_maximum", 10**6),
        ({"users": {"7": {"stored_bytes": 2**50 + 1}}}, "/users/7/stored_bytes", None, 2**50),
        ({"users": {"7": {"cpu_s": "2h"}}}, "/users/7/cpu_s", "wrong_type", None),
        ({"users": {"7": {"slots": 1}}}, "/users/7/slots", "unknown_field", None),
        ({"users": {"07": None}}, "/users/07", "invalid_value", 2**31 - 1),
        ({"users": {"2147483648": None}}, "/users/2147483648", "invalid_value", 2**31 - 1),
        ({"users": {str(n): None for n in range(1001)}}, "/users", "too_many", QUOTA_USERS),
    ],
)
async def test_what_is_wrong_with_quotas_is_told_by_pointer_and_limit(
    site: Site, quotas: object, pointer: str, code: str | None, limit: int | None
) -> None:
    status, answer, _ = await patch(site, {"quotas": quotas})
    assert status == 422
    [issue] = answer["errors"]
    assert (issue["pointer"], issue["limit"]) == ("/quotas" + pointer, limit)
    assert code is None or issue["code"] == code
    assert site.judicator.operations.set.revision == 0


async def test_every_fault_is_told(site: Site) -> None:
    faulty = {"default": {"queued": -1}, "users": {"x": {"running": -2}, "8": {"cpu_s": -3}}}
    _, answer, _ = await patch(site, {"quotas": faulty})
    assert [each["pointer"] for each in answer["errors"]] == [
        "/quotas/default/queued",
        "/quotas/users/x",
        "/quotas/users/x/running",
        "/quotas/users/8/cpu_s",
    ]


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("gateway", "of this gateway"),
        ("judicators", "of each judicator"),
    ],
)
async def test_what_is_set_on_hosts_is_refused_with_the_word_where(
    site: Site, name: str, where: str
) -> None:
    status, answer, _ = await patch(site, {name: None})
    assert (status, answer["errors"][0]["pointer"]) == (422, f"/{name}")
    detail = answer["errors"][0]["detail"]
    assert where in detail and "not changed over HTTP" in detail and "restart" in detail


async def test_what_is_kept_is_merged_and_less_is_told_with_its_date(site: Site) -> None:
    """The double's host keeps tasks for an hour, entries for a day, and seven backups."""
    first = {"retention": {"age_s": 86400, "count": 0}, "audit_s": 90000, "backups_kept": 9}
    status, answer, tag = await patch(site, {"keeping": first})
    assert (status, tag, answer["quotas"]["revision"]) == (200, '"1"', 1)
    assert answer["keeping"]["changed_at"] is not None
    assert {name: answer["keeping"][name] for name in ("retention", "audit_s", "backups_kept")} == {
        "retention": {"age_s": 86400.0, "count": 0, "size_bytes": None},
        "audit_s": 90000.0,
        "backups_kept": 9,
    }
    assert answer["keeping"]["less_from"] is None
    status, answer, _ = await patch(
        site, {"keeping": {"retention": {"age_s": 7200}, "audit_s": None}}
    )
    changed_at, less_from = (
        datetime.fromisoformat(answer["keeping"][name]) for name in ("changed_at", "less_from")
    )
    assert less_from == changed_at + NOTICE
    assert answer["keeping"]["retention"] == {"age_s": 7200.0, "count": 0, "size_bytes": None}
    assert (answer["keeping"]["audit_s"], answer["keeping"]["backups_kept"]) == (None, 9)
    _, answer, tag = await patch(site, {"keeping": first})
    assert (answer["keeping"]["less_from"], tag) == (None, '"3"')
    _, answer, _ = await patch(site, {"keeping": {"retention": None}})
    assert answer["keeping"]["retention"] == RETENTION
    _, answer, _ = await patch(site, {"keeping": None})
    assert answer["keeping"] | {"changed_at": None, "less_from": None} == KEEPING
    assert site.judicator.operations.set.keeping.told == ToldKeeping()


async def test_one_change_is_of_both_and_leaves_the_other(site: Site) -> None:
    await patch(site, {"quotas": {"default": {"queued": 1}}, "keeping": {"backups_kept": 3}})
    _, _, tag = await patch(site, {"quotas": None})
    assert tag == '"2"'
    assert site.judicator.operations.set.quotas == ToldQuotas()
    assert site.judicator.operations.set.keeping.told == ToldKeeping(backups_kept=3)
    assert (await patch(site, {"keeping": {"backups_kept": 3}}))[2] == '"2"'


@pytest.mark.parametrize(
    ("keeping", "pointer", "code", "limit"),
    [
        ({"retention": {"age_s": -1}}, "/retention/age_s", "below_minimum", 3600),
        ({"retention": {"age_s": 3599}}, "/retention/age_s", "below_minimum", 3600),
        ({"retention": {"age_s": 3153600001}}, "/retention/age_s", "above_maximum", 3153600000),
        ({"retention": {"age_s": "30d"}}, "/retention/age_s", "wrong_type", None),
        ({"retention": {"count": -1}}, "/retention/count", "below_minimum", 0),
        ({"retention": {"count": 10**9 + 1}}, "/retention/count", "above_maximum", 10**9),
        ({"retention": {"size_bytes": -1}}, "/retention/size_bytes", "below_minimum", 0),
        ({"retention": {"size_bytes": 2**50 + 1}}, "/retention/size_bytes", None, 2**50),
        ({"retention": {"bytes": 1}}, "/retention/bytes", "unknown_field", None),
        ({"audit_s": 0}, "/audit_s", "below_minimum", 86400),
        ({"audit_s": 36_501 * 86400}, "/audit_s", "above_maximum", 36_500 * 86400),
        ({"backups_kept": 0}, "/backups_kept", "below_minimum", 1),
        ({"backups_kept": 1001}, "/backups_kept", "above_maximum", 1000),
        ({"audit_days": 1}, "/audit_days", "unknown_field", None),
    ],
)
async def test_what_is_wrong_with_what_is_kept_is_told_by_pointer_and_limit(
    site: Site, keeping: object, pointer: str, code: str | None, limit: int | None
) -> None:
    status, answer, _ = await patch(site, {"keeping": keeping})
    assert status == 422
    [issue] = answer["errors"]
    assert (issue["pointer"], issue["limit"]) == ("/keeping" + pointer, limit)
    assert code is None or issue["code"] == code
    assert site.judicator.operations.set.revision == 0


async def test_every_fault_of_both_is_told(site: Site) -> None:
    faulty = {"retention": {"age_s": 1, "count": -1}, "backups_kept": 0}
    _, answer, _ = await patch(site, {"quotas": {"default": {"cpu_s": -1}}, "keeping": faulty})
    assert [each["pointer"] for each in answer["errors"]] == [
        "/quotas/default/cpu_s",
        "/keeping/retention/age_s",
        "/keeping/retention/count",
        "/keeping/backups_kept",
    ]


@pytest.mark.parametrize("name", ["retention", "audit_s", "backups_kept"])
async def test_what_is_kept_is_given_in_its_place(site: Site, name: str) -> None:
    status, answer, _ = await patch(site, {name: None})
    [issue] = answer["errors"]
    assert (status, issue["pointer"]) == (422, f"/{name}")
    assert issue["detail"] == f"give it as /keeping/{name}"


async def test_too_many_changes_of_what_is_kept_are_refused(site: Site) -> None:
    for n in range(EARLIER_WORDS):
        assert (await patch(site, {"keeping": {"backups_kept": 100 - n}}))[0] == 200
    status, answer, _ = await patch(site, {"keeping": {"backups_kept": 1}})
    assert (status, answer["code"]) == (409, "not_possible")
    assert "20 earlier words still bind; keep less again from " in answer["detail"]
    assert (await patch(site, {"keeping": {"backups_kept": 100}}))[0] == 200


async def test_the_client_sets_what_is_kept(site: Site) -> None:
    async with AsyncKhala(site.base) as khala:
        read = await khala.cluster_config()
        done = await khala.set_keeping({"retention": {"age_s": 0}}, if_match=read)
        assert done.keeping is not None and done.keeping.retention.age_s == 0
        [judicator] = done.judicators
        assert judicator.keeping is not None and judicator.keeping.backups_kept == 9
        with pytest.raises(Changed, match="has changed"):
            await khala.set_keeping({"retention": None}, if_match=read)
        with pytest.raises(Rejected, match="/keeping/backups_kept"):
            await khala.set_keeping({"backups_kept": 0})


async def test_more_users_than_may_have_their_own_are_told_together(site: Site) -> None:
    full = {user: ToldQuota(running=1) for user in range(QUOTA_USERS)}
    site.judicator.operations.set = ClusterSettings(revision=1, quotas=ToldQuotas(users=full))
    status, answer, _ = await patch(site, {"quotas": {"users": {"5000": {"running": 1}}}})
    assert status == 422
    [issue] = answer["errors"]
    assert (issue["pointer"], issue["limit"], issue["given"]) == ("/quotas/users", 1000, 1001)


async def test_a_change_in_the_same_moment_is_kept_or_refused_as_asked(site: Site) -> None:
    one = {"quotas": {"default": {"queued": 1}}}
    site.judicator.operations.hastened = 3
    assert (await patch(site, one))[2] == '"4"'
    for tag in ('"3"', 'W/"9", "8"'):
        status, answer, _ = await patch(site, {"quotas": None}, **{"If-Match": tag})
        assert (status, answer["code"]) == (412, "precondition_failed")
        assert '"4" now' in answer["detail"]
    status, _, _ = await patch(site, {"quotas": None}, **{"If-Match": "four"})
    assert (status, site.judicator.operations.set.revision) == (400, 4)
    site.judicator.operations.hastened = 1
    assert (await patch(site, {"quotas": None}, **{"If-Match": '"4"'}))[0] == 412
    for tag in ("*", '"6"'):
        document = {"quotas": {"default": {"queued": int(site.judicator.operations.set.revision)}}}
        assert (await patch(site, document, **{"If-Match": tag}))[0] == 200
    site.judicator.operations.hastened = 99
    status, answer, _ = await patch(site, {"quotas": None})
    assert (status, answer["code"]) == (503, "unavailable")


async def test_the_client_sets_what_it_has_read(site: Site) -> None:
    async with AsyncKhala(site.base) as khala:
        read = await khala.cluster_config()
        done = await khala.set_quotas({"users": {"7": {"running": 4}}}, if_match=read)
        assert done.quotas is not None and done.quotas.users["7"].running == 4
        with pytest.raises(Changed, match="has changed"):
            await khala.set_quotas({"users": {"7": None}}, if_match=read)
        with pytest.raises(Rejected, match="/quotas/default/queued"):
            await khala.set_quotas({"default": {"queued": -1}})


async def test_judicators_that_are_too_old_are_named_as_such(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise NotFound("no such address")

    monkeypatch.setattr(JudicatorClient, "ask", unknown)
    async with AsyncKhala(site.base) as khala:
        old = await khala.cluster_config()
        assert (old.quotas, old.keeping) == (None, None)
    monkeypatch.setattr("roles.gateway.audit.Audit._keep", _nothing)
    async with AsyncKhala(site.base) as khala:
        with pytest.raises(
            NotPossible, match=r"older than settings of the cluster.*--retention-\*"
        ):
            await khala.set_quotas({"default": None})


async def _nothing(*_: object) -> None:
    return None
