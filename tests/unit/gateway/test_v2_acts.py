"""Running again, forgetting, and acting on many tasks at once."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from khala.model.outcome import Cancellation, Ending, Outcome, Reason
from khala.model.spec import Part, Stage
from khala.model.task import Task
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import UNKNOWN, task_of

FAILED = Outcome(ending=Ending.FAILED, reason=Reason.EXIT_NONZERO, stage=Stage.EXECUTE)


def ended(site: Site, **fields: Any) -> Task:
    return site.judicator.add(replace(task_of(execute_command=b"./a"), **fields), FAILED)


async def post(site: Site, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    url = site.url(f"/api/v2/tasks/{path}")
    async with site.http.post(url, json=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def test_rerun_is_the_same_with_a_link(site: Site) -> None:
    task = ended(site, user=4, image="", environment={"A": "1"})
    status, made = await post(site, f"{task.id}/rerun", {})
    assert (status, made["links"]["self"]) == (201, f"/api/v2/tasks/{made['id']}")
    [again] = site.judicator.submitted
    assert again.rerun_of == task.id
    assert (again.user, again.environment) == (4, {"A": "1"})
    assert again.execute_limits == task.spec.execute_limits
    assert again.parts == {part: ref.inline for part, ref in task.spec.parts.items()}
    async with site.http.get(site.url(f"/api/v2/tasks/{made['id']}")) as response:
        assert (await response.json())["rerun_of"] == task.id


async def test_overrides_change_what_they_name(site: Site) -> None:
    task = ended(site, environment={"A": "1"})
    overrides = {
        "stages": {"execute": {"command": "./other", "limits": {"wall_s": 3}, "env": {"B": "2"}}},
        "stdin": {"text": "new"},
        "user": 9,
    }
    status, _ = await post(site, f"{task.id}/rerun", {"overrides": overrides})
    assert status == 201
    [again] = site.judicator.submitted
    assert again.parts[Part.EXECUTE_COMMAND] == b"./other"
    assert again.parts[Part.EXECUTE_INPUT] == b"new"
    assert again.user == 9
    assert again.environment == {"A": "1"}
    assert again.stage_environment == {Stage.EXECUTE: {"B": "2"}}
    assert again.compile_limits == task.spec.compile_limits
    limits, before = again.execute_limits, task.spec.execute_limits
    assert (limits.wall_ms, limits.cpu_ms) == (3000, 3000)
    assert limits.memory_bytes == before.memory_bytes


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"override": {}}, "/override"),
        ({"overrides": {"colour": 1}}, "/overrides/colour"),
        ({"overrides": {"user": -1}}, "/overrides/user"),
        ({"overrides": {"env": {"1A": ""}}}, "/overrides/env/1A"),
        (
            {"overrides": {"stages": {"execute": {"limits": {"memory": "999GiB"}}}}},
            "/overrides/stages/execute/limits/memory",
        ),
        (
            {"overrides": {"stages": {"execute": {"command": " "}}}},
            "/overrides/stages/execute/command",
        ),
    ],
)
async def test_a_fault_of_overrides_is_named(site: Site, body: object, pointer: str) -> None:
    task = ended(site)
    status, problem = await post(site, f"{task.id}/rerun", body)
    assert (status, problem["errors"][0]["pointer"]) == (422, pointer)
    assert site.judicator.submitted == []


async def test_only_what_has_ended_is_retried(site: Site) -> None:
    waiting = site.judicator.add(task_of())
    status, problem = await post(site, f"{waiting.id}/retry")
    assert (status, problem["code"]) == (409, "not_done")
    task = ended(site)
    assert (await post(site, f"{task.id}/retry"))[0] == 201
    assert site.judicator.submitted[-1].rerun_of == task.id
    assert (await post(site, f"{UNKNOWN}/retry"))[0] == 404


async def test_forgetting(site: Site) -> None:
    waiting, task = site.judicator.add(task_of()), ended(site)
    for name, expected in ((task.id, 204), (task.id, 404), (waiting.id, 409)):
        async with site.http.delete(site.url(f"/api/v2/tasks/{name}")) as response:
            assert response.status == expected


async def test_nobody_cancels_more_than_was_seen(site: Site) -> None:
    tasks = [site.judicator.add(replace(task_of(), user=93)) for _ in range(3)]
    body = {"action": "cancel", "filter": {"user": 93}, "expect_count": 2}
    status, problem = await post(site, "actions", body)
    assert (status, problem["code"], problem["field"]) == (409, "count_differs", "expect_count")
    assert "3" in problem["detail"]
    said = {"reason": "wrong input", "by": "ann"}
    status, acted = await post(site, "actions", {**body, **said, "expect_count": 3})
    assert (status, acted["matched"], acted["cancelled"]) == (200, 3, 3)
    for task in tasks:
        outcome = site.judicator.tasks[task.id].outcome
        assert outcome is not None and outcome.cancellation == Cancellation(
            reason="wrong input", by="ann"
        )


async def test_who_cancels_may_say_why(site: Site) -> None:
    task = site.judicator.add(task_of())
    said = {"reason": "  wrong input ", "by": "ann"}
    kept = {"reason": "wrong input", "by": "ann"}
    status, row = await post(site, f"{task.id}/cancel", said)
    assert (status, row["state"], row["cancellation"]) == (200, "cancelled", kept)
    # What was said first stands.
    status, row = await post(site, f"{task.id}/cancel", {"reason": "another"})
    assert (status, row["cancellation"]) == (200, kept)
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}")) as response:
        seen = await response.json()
    assert (seen["message"], seen["cancellation"]) == ("cancelled by ann: wrong input", kept)
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}/explain")) as response:
        assert (await response.json())["summary"] == "cancelled by ann: wrong input"


@pytest.mark.parametrize(("given", "kept"), [(2.5, 2.5), ("1m", 60), (0, None)])
async def test_what_is_cancelled_may_have_time_to_end(
    site: Site, given: object, kept: float | None
) -> None:
    task = site.judicator.add(task_of())
    status, row = await post(site, f"{task.id}/cancel", {"grace_s": given})
    said = None if kept is None else {"by": "", "reason": "", "grace_s": kept}
    assert (status, row["cancellation"]) == (200, said)


@pytest.mark.parametrize("body", [None, {}, {"reason": " ", "by": ""}])
async def test_nothing_said_is_nothing_shown(site: Site, body: object) -> None:
    task = site.judicator.add(task_of())
    status, row = await post(site, f"{task.id}/cancel", body)
    assert (status, row["cancellation"]) == (200, None)
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}")) as response:
        assert (await response.json())["message"] is None


@pytest.mark.parametrize(
    ("body", "pointer", "code", "limit", "given"),
    [
        ({"reason": "x" * 201}, "/reason", "too_long", 200, 201),
        ({"by": "x" * 65}, "/by", "too_long", 64, 65),
        ({"reason": "two\nlines"}, "/reason", "invalid_value", None, "two\nlines"),
        ({"by": "\x1b[31m"}, "/by", "invalid_value", None, "\x1b[31m"),
        ({"reason": 7}, "/reason", "wrong_type", None, 7),
        ({"grace_s": 301}, "/grace_s", "above_maximum", 300, 301),
        ({"grace_s": -1}, "/grace_s", "invalid_value", None, -1),
        ({"grace_s": "soon"}, "/grace_s", "invalid_value", None, "soon"),
        ({"why": ""}, "/why", "unknown_field", None, None),
    ],
)
async def test_a_fault_of_what_is_said_is_named(
    site: Site, body: object, pointer: str, code: str, limit: int | None, given: object
) -> None:
    task = site.judicator.add(task_of())
    status, problem = await post(site, f"{task.id}/cancel", body)
    [issue] = problem["errors"]
    found = (issue["pointer"], issue["code"], issue.get("limit"), issue.get("given"))
    assert (status, *found) == (422, pointer, code, limit, given)
    assert site.judicator.tasks[task.id].outcome is None


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"action": "delete"}, "/action"),
        ({"reason": "two\nlines"}, "/reason"),
        ({"filter": {"users": 1}}, "/filter/users"),
        ({"filter": {"state": ["done"]}}, "/filter/state/0"),
        ({"filter": {"id_prefix": "xyz"}}, "/filter/id_prefix"),
        ({"filter": {"job": "ab" * 9 + "0" * 6, "id_prefix": "abcdef"}}, "/filter/id_prefix"),
        ({"filter": {"name": "two\nlines"}}, "/filter/name"),
        ({"filter": {"q": 7}}, "/filter/q"),
        ({"expect_count": -1}, "/expect_count"),
    ],
)
async def test_a_fault_of_an_action_is_named(
    site: Site, change: dict[str, object], pointer: str
) -> None:
    body = {"action": "cancel", "filter": {}, "expect_count": 0, **change}
    status, problem = await post(site, "actions", body)
    assert (status, problem["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize(
    ("text", "code", "limit", "given"),
    [
        ("", "invalid_value", 1, 0),
        ("  ", "invalid_value", None, "  "),
        ("two\nlines", "invalid_value", None, "two\nlines"),
        ("x" * 201, "too_long", 200, 201),
        ("a b c d e f g h i", "too_many", 8, 9),
    ],
)
async def test_a_fault_of_a_search_is_named(
    site: Site, text: str, code: str, limit: int | None, given: object
) -> None:
    body = {"action": "cancel", "filter": {"q": text}, "expect_count": 0}
    status, problem = await post(site, "actions", body)
    [issue] = problem["errors"]
    found = (issue["pointer"], issue["code"], issue.get("limit"), issue.get("given"))
    assert (status, *found) == (422, "/filter/q", code, limit, given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("00-" + "a" * 32 + "-" + "b" * 16 + "-01", True), ("00-zz", False)],
)
async def test_a_trace_is_kept(site: Site, given: str, kept: bool) -> None:
    document = {"stages": {"execute": {"command": "true"}}}
    url = site.url("/api/v2/tasks")
    async with site.http.post(url, json=document, headers={"traceparent": given}) as response:
        assert response.status == 201
    assert site.judicator.submitted[-1].traceparent == (given if kept else "")


async def test_a_task_that_waits_says_why_when_the_time_is_up(site: Site) -> None:
    document = {"stages": {"execute": {"command": "true"}}}
    url = site.url("/api/v2/tasks?wait=1s")
    async with site.http.post(url, json=document) as response:
        assert response.status == 202
        assert (await response.json())["pending"]["code"] == "soon"


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999-23:59",
        "0001-01-01T00:00:00Z",
        "2026-11-24T00:04:08",
    ],
)
async def test_dates_at_the_ends_of_time_are_dates(site: Site, moment: str) -> None:
    """A zone puts the first beyond what any clock shows; the last has no zone."""
    site.judicator.add(replace(task_of(), user=5))
    late = moment > "2026-12"
    bound = {"created_before" if late else "created_after": moment}
    body = {"action": "cancel", "filter": {"user": 5, **bound}, "expect_count": 1}
    status, acted = await post(site, "actions", body)
    assert (status, acted.get("cancelled")) == (200, 1), acted
