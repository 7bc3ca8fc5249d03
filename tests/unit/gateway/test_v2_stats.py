"""Which steps an answer has, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from khala.model.errors import Rejected
from roles.gateway.queries import parse_query
from roles.gateway.v2_stats import StatsQuery, Step, steps_of
from tests.unit.gateway.conftest import Site

NOW = datetime(2026, 11, 28, 13, 47, 31, tzinfo=UTC)


def test_a_day_by_hours_unless_told_otherwise() -> None:
    asked = steps_of(StatsQuery(), NOW)
    assert asked.start == datetime(2026, 11, 27, 13, tzinfo=UTC)
    assert asked.end == datetime(2026, 11, 28, 14, tzinfo=UTC)
    assert asked.step_s == 3600


def test_steps_are_whole_and_the_last_one_is_that_of_to() -> None:
    query = parse_query(
        {"from": "2026-11-28T13:04:10Z", "to": "2026-11-28T14:15:00+01:00", "step": "5m"},
        StatsQuery,
    )
    asked = steps_of(query, NOW)
    assert asked.start == datetime(2026, 11, 28, 13, 0, tzinfo=UTC)
    assert asked.end == datetime(2026, 11, 28, 13, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "field", "told"),
    [
        ({"from": NOW, "to": NOW}, "from", "is not before to"),
        ({"from": NOW - timedelta(hours=9), "step": Step.MINUTE}, "step", "500 steps at the most"),
        (
            {"to": NOW - timedelta(days=4), "step": Step.FIVE_MINUTES},
            "from",
            "by 5m the last 3 days are kept.*step=1d goes back",
        ),
        ({"to": NOW - timedelta(days=40)}, "from", "by 1h the last 35 days are kept"),
        ({"from": datetime.min.replace(tzinfo=UTC)}, "step", "500 steps"),
        ({"to": datetime.min.replace(tzinfo=UTC)}, "to", "a day around it"),
        ({"to": datetime.max.replace(tzinfo=UTC)}, "to", "a day around it"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    query: dict[str, object], field: str, told: str
) -> None:
    given = {"from_" if name == "from" else name: value for name, value in query.items()}
    with pytest.raises(Rejected, match=told) as refused:
        steps_of(StatsQuery(**given), NOW)  # type: ignore[arg-type]
    assert refused.value.field == field


@pytest.mark.parametrize("query", ["from_=2026-11-28", "from=yesterday", "step=2h"])
async def test_parameters_are_those_of_the_document(site: Site, query: str) -> None:
    async with site.http.get(site.url(f"/api/v2/stats?{query}")) as response:
        assert response.status == 400
        assert query.partition("=")[0] in (await response.json())["detail"]
    async with site.http.get(site.url("/api/v2/openapi.json")) as response:
        document = await response.json()
    parameters = document["paths"]["/api/v2/stats"]["get"]["parameters"]
    assert [each["name"] for each in parameters] == ["from", "to", "step"]
    assert all(each["description"] for each in parameters[:2])
    assert document["components"]["schemas"]["Stats"]["properties"]["from"]["description"]
