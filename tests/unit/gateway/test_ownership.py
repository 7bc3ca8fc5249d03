"""Whose things are: what a submitter may change, and in whose name somebody submits."""

from __future__ import annotations

from typing import Any

import pytest

from khala.model.ids import mint_task_id
from khala.model.outcome import Cancellation
from tests.unit.gateway.people import ANN, BEN, DOCUMENT, TASKS, People, submission


async def test_what_is_submitted_is_ones_own(people: People) -> None:
    for who, given, status, user in [
        ("ann", {}, 201, ANN),
        ("ann", {"user": ANN}, 201, ANN),
        ("ann", {"user": BEN}, 403, None),
        ("ann", {"user": 0}, 403, None),
        ("olga", {}, 201, 9),
        ("olga", {"user": BEN}, 201, BEN),
    ]:
        people.judicator.submitted.clear()
        got, answer = await people.ask(who, "POST", TASKS, json={**DOCUMENT, **given})
        assert got == status
        if user is None:
            assert answer["field"] == "/user"
            assert not people.judicator.submitted
        else:
            assert people.judicator.submitted[-1].user == user


@pytest.mark.parametrize(
    ("path", "document", "field"),
    [
        ("/api/v2/jobs", {"task": DOCUMENT | {"user": BEN}, "array": "0-3"}, "/task/user"),
        ("/api/v2/jobs", {"tasks": [DOCUMENT, DOCUMENT | {"user": BEN}]}, "/tasks/1/user"),
        ("/api/v2/tasks/batch", {"tasks": [DOCUMENT | {"user": BEN}]}, "/tasks/0/user"),
        ("/api/v2/uploads", {"size": 3, "user": BEN}, "/user"),
        (
            "/api/v2/tasks/actions",
            {"action": "cancel", "filter": {"user": BEN}, "expect_count": 0},
            "/filter/user",
        ),
    ],
)
async def test_in_nobody_elses_name(
    people: People, path: str, document: dict[str, Any], field: str
) -> None:
    status, answer = await people.ask("ann", "POST", path, json=document)
    assert (status, answer["code"], answer["field"]) == (403, "forbidden", field)
    assert "ann is a submitter with the number 7" in answer["detail"]
    assert not people.judicator.submitted


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/cancel", {}),
        ("PATCH", "", {"name": "other"}),
        ("POST", "/retry", None),
        ("DELETE", "", None),
    ],
)
async def test_others_tasks_are_not_a_submitters_to_change(
    people: People, method: str, path: str, body: Any
) -> None:
    task = people.task_of(BEN)
    status, answer = await people.ask("ann", method, f"{TASKS}/{task}{path}", json=body)
    assert (status, answer["code"]) == (403, "forbidden")
    assert f"task {task} is user 8's" in answer["detail"]
    for who in ("ben", "olga"):
        task = people.task_of(BEN)
        status, _ = await people.ask(who, method, f"{TASKS}/{task}{path}", json=body)
        assert status != 403
    status, _ = await people.ask("ann", method, f"{TASKS}/{mint_task_id()}{path}", json=body)
    assert status == 404


async def test_only_submitters_cost_a_look_at_the_owner(people: People) -> None:
    for who, reads in (("ben", 1), ("olga", 0)):
        task = people.task_of(BEN)
        people.judicator.reads = 0
        assert (await people.ask(who, "POST", f"{TASKS}/{task}/cancel"))[0] == 200
        assert people.judicator.reads == reads


async def test_others_uploads_and_jobs_are_not_either(people: People) -> None:
    status, upload = await people.ask("ben", "POST", "/api/v2/uploads", json={"size": 3})
    assert status == 201
    where = f"/api/v2/uploads/{upload['id']}"
    for method in ("PATCH", "DELETE"):
        status, answer = await people.ask("ann", method, where)
        assert (status, answer["code"]) == (403, "forbidden")
    assert (await people.ask("ann", "GET", where))[0] == 200
    assert (await people.ask("ben", "DELETE", where))[0] == 204
    status, answer = await people.ask("ann", "PATCH", f"/api/v2/jobs/{'0' * 24}", json={})
    assert (status, answer["code"]) == (403, "forbidden")


async def test_running_somebody_elses_task_again_makes_an_own_one(people: People) -> None:
    task = people.task_of(BEN)
    for who, overrides, user in [
        ("ann", {}, ANN),
        ("ann", {"user": ANN}, ANN),
        ("ben", {}, BEN),
        ("olga", {}, BEN),
        ("olga", {"user": ANN}, ANN),
    ]:
        body = {"overrides": overrides}
        status, _ = await people.ask(who, "POST", f"{TASKS}/{task}/rerun", json=body)
        assert (status, people.judicator.submitted[-1].user) == (201, user)
    body = {"overrides": {"user": BEN}}
    status, answer = await people.ask("ann", "POST", f"{TASKS}/{task}/rerun", json=body)
    assert (status, answer["field"]) == (403, "/overrides/user")


async def test_many_acts_at_once_are_on_ones_own(people: People) -> None:
    tasks = {user: people.task_of(user) for user in (ANN, BEN)}
    body = {"action": "cancel", "filter": {}, "expect_count": 1}
    status, answer = await people.ask("ann", "POST", f"{TASKS}/actions", json=body)
    assert (status, answer["cancelled"]) == (200, 1)
    states = {user: people.judicator.tasks[task].state for user, task in tasks.items()}  # type: ignore[index]
    assert (states[ANN], states[BEN]) == ("cancelled", "queued")


async def test_what_is_shown_without_a_user_is_ones_own(people: People) -> None:
    _, made = await people.ask("ann", "POST", "/api/v2/uploads", json={"size": 3})
    for who, query, there in (("ann", "", True), ("ben", "", False), ("ben", f"?user={ANN}", True)):
        _, answer = await people.ask(who, "GET", f"/api/v2/uploads{query}")
        assert (made["id"] in [each["id"] for each in answer["items"]]) is there
    await people.ask("ann", "DELETE", f"/api/v2/uploads/{made['id']}")


async def test_who_cancels_is_who_showed_the_token(people: People) -> None:
    for who, given, said in [
        ("ann", {}, "ann"),
        ("ann", {"by": "ann"}, "ann"),
        ("olga", {}, "olga"),
        ("olga", {"by": "ann"}, "ann"),
    ]:
        task = people.judicator.add(submission(ANN))
        status, _ = await people.ask(who, "POST", f"{TASKS}/{task.id}/cancel", json=given)
        assert status == 200
        assert _cancellation(people, task.id) == Cancellation(by=said)
    task = people.judicator.add(submission(ANN))
    where = f"{TASKS}/{task.id}/cancel"
    status, answer = await people.ask("ann", "POST", where, json={"by": "ben"})
    assert (status, answer["field"]) == (403, "/by")


async def test_kv2s_user_and_tasks_are_ones_own(people: People) -> None:
    form = {
        "user": str(BEN),
        "compile_timeout": "1",
        "execute_timeout": "1",
        "compile_command": "",
        "execute_input": "",
        "execute_command": "true",
        "execute_standard": "",
    }
    status, answer = await people.ask("ann", "POST", "/api/task", data=form)
    assert (status, answer) == (200, {"id": None, "result": 4})
    for who in ("ben", "olga"):
        status, answer = await people.ask(who, "POST", "/api/task", data=form)
        assert (status, answer["result"]) == (200, 0)
    where = f"/api/task?id={answer['id']}"
    assert (await people.ask("ann", "DELETE", where))[1] == {"result": 4}
    assert (await people.ask("ben", "DELETE", where))[1] == {"result": 0}
    assert _cancellation(people, answer["id"]) == Cancellation(by="ben")


def _cancellation(people: People, task: str) -> Cancellation | None:
    outcome = people.judicator.tasks[task].outcome  # type: ignore[index]
    assert outcome is not None
    return outcome.cancellation
