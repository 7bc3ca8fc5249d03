"""The list of the second API: its parameters, its cursor, and cancelling."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from khala.model.errors import Rejected
from khala.model.ids import TaskId
from khala.model.task import TaskState
from khala.protocol.rpc import Place
from roles.gateway.queries import parse_query
from roles.gateway.v2_list import LIMIT_MAX, ListQuery, _list_of
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import task_of


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", str(LIMIT_MAX + 1)),
        ("limit", "ten"),
        ("user", "-1"),
        ("user", ""),
        ("user", "null"),
        ("created_after", ""),
        ("created_before", "10"),
        ("created_before", "2026-11-24T25:00:00Z"),
        ("created_before", "2026-11-24T00:00:00+00:99"),
        ("state", "done"),
        ("state", ""),
        ("order", "up"),
        ("created_after", "soon"),
        ("cursor", "x"),
        ("cursor", "!" * 30),
        ("cursor", "A" * 100),
        ("cursor", "OTk5OTk5OTk5OTk5OTk5OTk5OTkuYQ"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(name: str, value: str) -> None:
    with pytest.raises(Rejected) as refused:
        _list_of(parse_query({name: value}, ListQuery))
    assert refused.value.field == name
    assert name in refused.value.message


def test_parameters_become_a_query() -> None:
    query = _list_of(
        parse_query(
            {"user": "7", "state": "failed,queued,failed", "order": "oldest", "limit": "9"},
            ListQuery,
        )
    )
    assert (query.user, query.limit, query.oldest_first) == (7, 9, True)
    assert query.states == (TaskState.FAILED, TaskState.QUEUED)


async def test_pages_follow_their_cursor(site: Site) -> None:
    tasks = [site.judicator.add(msgspec.structs.replace(task_of(), user=91)) for _ in range(5)]
    seen: list[str] = []
    url = "/api/v2/tasks?user=91&limit=2"
    while url:
        async with site.http.get(site.url(url)) as response:
            assert response.status == 200
            body = await response.json()
            link = response.links.get("next")
        seen += [row["id"] for row in body["items"]]
        assert (link is None) == (body["next_cursor"] is None)
        url = str(link["url"]).removeprefix(site.base) if link else ""
    assert seen == sorted((task.id for task in tasks), reverse=True)


def test_a_cursor_is_a_place() -> None:
    place = Place(
        submitted_at=datetime(2026, 11, 24, 0, 4, 8, 615000, tzinfo=UTC), id=TaskId("ab" * 12)
    )
    cursor = "MTc5NTQ3ODY0ODYxNS5hYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWI"
    assert _list_of(parse_query({"cursor": cursor}, ListQuery)).after == place


async def test_cancelling_twice_is_cancelling_once(site: Site) -> None:
    task = site.judicator.add(task_of())
    for _ in range(2):
        async with site.http.post(site.url(f"/api/v2/tasks/{task.id}/cancel")) as response:
            assert response.status == 200
            assert (await response.json())["state"] == "cancelled"
    async with site.http.post(site.url(f"/api/v2/tasks/{'0' * 24}/cancel")) as response:
        assert response.status == 404
