"""A task that exists is called otherwise, moved in the queue, held and released."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from khala.client import AsyncKhala, Changed, TaskPatch
from khala.model.limits import LABELS
from khala.model.task import Dispatch, Task
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.rpc import ListTasks, TaskRows
from roles.gateway.v2_view import etag_of
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import UNKNOWN, task_of
from tests.unit.gateway.test_v2_acts import ended

MERGE_PATCH = "application/merge-patch+json"


async def patch(
    site: Site, task: str, body: object, *, kind: str = MERGE_PATCH, **headers: str
) -> tuple[int, Any, str | None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with site.http.patch(
        site.url(f"/api/v2/tasks/{task}"), json=body, headers={"Content-Type": kind, **named}
    ) as response:
        return response.status, await response.json(content_type=None), response.headers.get("ETag")


async def waiting(site: Site, **fields: Any) -> Task:
    return site.judicator.add(replace(task_of(execute_command=b"./a"), **fields))


@pytest.mark.parametrize("kind", ["application/json", MERGE_PATCH])
async def test_what_is_given_changes_and_the_rest_stays(site: Site, kind: str) -> None:
    task = await waiting(site, name="old", labels={"a": "1", "b": "2"}, priority=3)
    wanted = {"labels": {"b": None, "c/d": "3"}, "held": True}
    status, found, tag = await patch(site, task.id, wanted, kind=kind)
    assert status == 200
    assert (found["name"], found["priority"], found["held"]) == ("old", 3, True)
    assert found["labels"] == {"a": "1", "c/d": "3"}
    assert found["pending"]["code"] == "held"
    assert found["pending"]["detail"] == f"held until it is released (khala release {task.id})"
    stored = site.judicator.tasks[task.id]
    assert stored.dispatch is Dispatch.HELD
    assert site.judicator.patches.told[-1] == {task.id: stored.patch}
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}")) as response:
        assert response.headers["ETag"] == tag
        assert await response.json() == found
    seen = msgspec.convert(found, v2.Task)
    assert seen.tag == etag_of(stored)
    async with AsyncKhala(site.url("")) as client:
        changed = await client.patch_task(task.id, TaskPatch(name="new"), if_match=seen)
        assert changed.name == "new"
        with pytest.raises(Changed):
            await client.patch_task(task.id, TaskPatch(name="newer"), if_match=seen)
    assert site.judicator.tasks[task.id].spec.name == "new"


async def test_null_is_the_default(site: Site) -> None:
    task = await waiting(site, name="old", labels={"a": "1"}, priority=3)
    status, found, _ = await patch(
        site, task.id, {"name": None, "labels": None, "priority": None, "held": None}
    )
    assert status == 200
    assert (found["name"], found["labels"], found["priority"]) == ("", {}, 0)


async def test_what_has_ended_can_be_called_otherwise_and_nothing_else(site: Site) -> None:
    task = ended(site, name="old")
    status, found, _ = await patch(site, task.id, {"name": "new", "labels": {"a": "b"}})
    assert (status, found["name"], found["labels"]) == (200, "new", {"a": "b"})
    for body in ({"held": True}, {"held": False}, {"priority": 1, "name": "newer"}):
        status, problem, _ = await patch(site, task.id, body)
        assert (status, problem["code"]) == (409, "not_waiting")
    assert site.judicator.tasks[task.id].spec.name == "new"
    status, problem, _ = await patch(site, UNKNOWN, {"held": True})
    assert (status, problem["code"]) == (404, "not_found")


async def test_what_has_ended_may_be_kept_for_another_time(site: Site) -> None:
    task = ended(site)
    site.judicator.tasks[task.id] = replace(task, done_at=task.submitted_at)
    status, found, _ = await patch(site, task.id, {"retention": "7d"})
    assert (status, found["retention_s"]) == (200, 7 * 86_400)
    assert found["removed_after"] > found["finished_at"]
    status, found, _ = await patch(site, task.id, {"name": "other"})
    assert (status, found["retention_s"]) == (200, 7 * 86_400)
    status, found, _ = await patch(site, task.id, {"retention": None})
    assert (status, found["retention_s"], found["removed_after"]) == (200, None, None)
    status, problem, _ = await patch(site, task.id, {"retention": 5})
    assert (status, problem["errors"][0]["pointer"]) == (422, "/retention")


async def test_only_what_was_seen_is_changed(site: Site) -> None:
    task = await waiting(site)
    tag = etag_of(task)
    # What follows from the queue is in the tag, and is not compared.
    for form in ('"{}"', '"{}~1f"', '"x", "{}"', "*"):
        given = form.format(tag)
        status, found, new = await patch(site, task.id, {"name": given}, If_Match=given)
        assert (status, found.get("name")) == (200, given), found
        assert new is not None
        tag = new.strip('"')
    for given in ('"x"', f'W/"{tag}"', f'"{etag_of(task)}"'):
        status, problem, _ = await patch(site, task.id, {"held": True}, If_Match=given)
        assert (status, problem["code"], problem["field"]) == (
            412, "precondition_failed", "If-Match",
        )  # fmt: skip
    status, problem, _ = await patch(site, task.id, {"held": True}, If_Match=tag)
    assert (status, problem["code"], problem["field"]) == (400, "invalid_request", "If-Match")
    assert site.judicator.tasks[task.id].dispatch is Dispatch.QUEUED


@pytest.mark.parametrize(
    ("body", "pointer", "limit", "given"),
    [
        ({"hold": True}, "/hold", None, None),
        ({"held": "yes"}, "/held", None, "yes"),
        ({"priority": 101}, "/priority", 100, 101),
        ({"name": "n" * 129}, "/name", 128, 129),
        ({"labels": {"a b": "1"}}, "/labels/a b", None, "a b"),
        ({"labels": {"a b": None}}, "/labels/a b", None, "a b"),
        ({"labels": {"a": 1}}, "/labels/a", None, 1),
        ({"labels": {str(n): "" for n in range(LABELS + 1)}}, "/labels", LABELS, LABELS + 1),
    ],
)
async def test_a_fault_is_named(
    site: Site, body: object, pointer: str, limit: int | None, given: object
) -> None:
    task = await waiting(site)
    status, problem, _ = await patch(site, task.id, body)
    issue = problem["errors"][0]
    assert (status, issue["pointer"]) == (422, pointer)
    assert (issue.get("limit"), issue.get("given")) == (limit, given)
    assert site.judicator.tasks[task.id] == task


async def test_labels_are_counted_with_those_that_it_has(site: Site) -> None:
    task = await waiting(site, labels={f"old{n}": "" for n in range(LABELS)})
    status, problem, _ = await patch(site, task.id, {"labels": {"one": "more"}})
    issue = problem["errors"][0]
    assert (status, issue["pointer"], issue["limit"]) == (422, "/labels", LABELS)
    assert str(LABELS + 1) in issue["detail"]


async def test_a_document_that_is_none_is_refused(site: Site) -> None:
    task = await waiting(site)
    bodies: tuple[object, ...] = ([], "x", 3)
    for body in bodies:
        status, problem, _ = await patch(site, task.id, body)
        assert (status, problem["code"]) == (422, "validation_failed")


async def test_a_task_may_be_submitted_as_held(site: Site) -> None:
    document = {"stages": {"execute": {"command": "true"}}, "held": True}
    async with site.http.post(site.url("/api/v2/tasks?dry_run=true"), json=document) as response:
        assert (response.status, (await response.json())["held"]) == (200, True)
    for held in (True, False):
        document["held"] = held
        async with site.http.post(site.url("/api/v2/tasks"), json=document) as response:
            assert response.status == 201
        assert site.judicator.submitted[-1].held is held
    for job, pointer in (
        ({"task": {**document, "held": True}, "array": "0-3"}, "/task/held"),
        ({"tasks": [document, {**document, "held": True}]}, "/tasks/1/held"),
    ):
        async with site.http.post(site.url("/api/v2/jobs"), json=job) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["errors"][0]["pointer"]) == (422, pointer)


async def act(site: Site, **document: Any) -> tuple[int, Any]:
    url = site.url("/api/v2/tasks/actions")
    async with site.http.post(url, json={"action": "patch", **document}) as response:
        return response.status, await response.json(content_type=None)


async def test_all_tasks_of_a_filter_are_changed_each_by_itself(site: Site) -> None:
    full = {f"old{n}": "" for n in range(LABELS)}
    some = [await waiting(site, user=94) for _ in range(2)]
    others = [await waiting(site, user=94, labels=full), ended(site, user=94)]
    wanted: dict[str, Any] = {"filter": {"user": 94}, "expect_count": 3}
    status, problem = await act(site, patch={"labels": {"a": "b"}}, **wanted)
    assert (status, problem["code"]) == (409, "count_differs")
    wanted["expect_count"] = 4
    status, acted = await act(site, patch={"labels": {"a": "b"}}, **wanted)
    assert status == 200
    assert (acted["matched"], acted["patched"], acted["failed"]) == (4, 3, 1)
    assert acted["failures"][0]["id"] == others[0].id
    assert site.judicator.tasks[some[0].id].spec.labels == {"a": "b"}
    assert set(site.judicator.patches.told[-1]) >= {each.id for each in (*some, others[1])}
    # The double knows no states: what has ended is not asked for, and says that it does not wait.
    status, acted = await act(site, patch={"held": True}, **wanted)
    assert (acted["patched"], acted["not_waiting"], acted["already_done"]) == (3, 1, 0)
    held = [site.judicator.tasks[each.id].dispatch is Dispatch.HELD for each in (*some, *others)]
    assert held == [True, True, True, False]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/patch"),
        ({"patch": {"priority": 101}}, "/patch/priority"),
        ({"patch": {"labels": {"a b": ""}}}, "/patch/labels/a b"),
        ({"patch": {}, "reason": "why"}, "/reason"),
        ({"patch": {}, "by": "ann"}, "/by"),
        ({"patch": {"held": True}, "action": "cancel"}, "/patch"),
    ],
)
async def test_a_fault_of_an_act_is_named(
    site: Site, document: dict[str, Any], pointer: str
) -> None:
    status, problem = await act(site, filter={}, expect_count=0, **document)
    assert (status, problem["errors"][0]["pointer"]) == (422, pointer)


async def test_the_states_that_are_meant(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the filter's own, those that the act is for."""
    asked: list[tuple[str, ...]] = []
    list_tasks = JudicatorClient.list_tasks

    async def noted(self: JudicatorClient, query: ListTasks) -> TaskRows:
        asked.append(tuple(query.states))
        return await list_tasks(self, query)

    monkeypatch.setattr(JudicatorClient, "list_tasks", noted)
    for patch_, states in (
        ({"held": True}, []),
        ({"priority": None}, ["queued", "running"]),
        ({"name": "x"}, ["failed", "queued", "failed"]),
        ({"held": True}, ["running"]),
    ):
        await act(site, patch=patch_, filter={"user": 95, "state": states}, expect_count=0)
    assert asked == [("queued",), ("queued",), ("failed", "queued")]


async def test_a_job_is_held_and_released(site: Site) -> None:
    url = site.url("/api/v2/jobs/6b04d4787d852fb9eb000000")
    for body, held in (
        ({}, False),
        ({"held": True}, True),
        ({}, True),
        ({"held": False}, False),
    ):
        async with site.http.patch(url, json=body) as response:
            assert (response.status, (await response.json())["held"]) == (200, held)
    async with site.http.patch(url, json={"held": 1}) as response:
        problem = await response.json(content_type=None)
        assert (response.status, problem["errors"][0]["pointer"]) == (422, "/held")
