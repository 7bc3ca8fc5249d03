"""What a cluster was told: judicators' settings, where they differ, a gateway's limits."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from khala.client import AsyncKhala
from khala.model.errors import Unavailable
from khala.model.retention import Retention
from khala.net.client import JudicatorClient
from khala.protocol.settings import JudicatorSettings
from roles.gateway.v2_config import differing
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.operations_double import SETTINGS

NOTHING = {"queued": None, "running": None, "cpu_s": None, "stored_bytes": None}


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test may have had another cluster before it a moment ago."""
    monkeypatch.setattr("roles.gateway.cluster.FRESH_S", -1.0)


async def test_what_each_was_told(site: Site) -> None:
    async with site.http.get(site.url("/api/v2/cluster/config")) as response:
        found = await response.json()
    gateway = found.pop("gateway")
    assert found == {
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
        ([replace(SETTINGS, audit_s=1.0, backups_kept=1)], ["audit_s", "backups_kept"]),
    ],
)
def test_what_differs_is_named(others: list[JudicatorSettings], names: list[str]) -> None:
    assert differing([SETTINGS, *others]) == names
    assert differing([]) == []
