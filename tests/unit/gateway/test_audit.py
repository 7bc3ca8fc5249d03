"""What stands in the audit log: before it is done, with how it ended, and what was refused."""

from __future__ import annotations

from typing import Any

import pytest

from khala.model.access_limits import AUDIT_REFUSALS
from khala.model.errors import Unavailable
from khala.protocol.access import AuditRow
from roles.gateway.audit import Audit
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.people import ANN, BEN, DOCUMENT, TASKS, People, submission


def rows(people: People) -> list[AuditRow]:
    return people.judicator.access.audit


def said(row: AuditRow) -> tuple[str, str, str, str | None, int | None]:
    entry = row.entry
    return entry.act, entry.target, entry.detail, entry.user, row.status


@pytest.mark.parametrize(
    ("method", "path", "body", "act", "target", "detail", "status"),
    [
        (
            "POST",
            "/api/v2/users",
            {"name": "zoe", "role": "viewer", "token": {"name": "secret one"}},
            "user.create",
            "zoe",
            'name "zoe", role "viewer"',
            201,
        ),
        (
            "PATCH",
            "/api/v2/users/ann",
            {"disabled": True},
            "user.change",
            "ann",
            "disabled true",
            200,
        ),
        ("PATCH", "/api/v2/users/nobody", {}, "user.change", "nobody", "", 404),
        ("DELETE", "/api/v2/users/adam", None, "user.delete", "adam", "", 409),
        (
            "POST",
            f"{TASKS}/actions",
            {"action": "cancel", "filter": {"user": 99}, "expect_count": 0},
            "task.bulk",
            "",
            'action "cancel", filter {"user":99}, expect_count 0',
            200,
        ),
    ],
)
async def test_what_is_done_is_noted_with_how_it_ended(
    people: People,
    method: str,
    path: str,
    body: Any,
    act: str,
    target: str,
    detail: str,
    status: int,
) -> None:
    got, _ = await people.ask("adam", method, path, json=body)
    assert got == status
    [row] = rows(people)
    assert said(row) == (act, target, detail, "adam", status)
    assert row.entry.known_by == "token"
    assert row.entry.token == people.judicator.access.pats_of("adam").pats[0].id
    assert row.entry.address == "127.0.0.1"
    assert row.entry.via
    assert row.entry.request_id in people.judicator.request_ids


async def test_tasks_that_exist_are_noted_and_new_ones_are_not(people: People) -> None:
    await people.ask("ann", "POST", TASKS, json=DOCUMENT)
    task = people.task_of(ANN)
    await people.ask("ann", "POST", f"{TASKS}/{task}/cancel", json={"reason": "too long"})
    other = people.task_of(ANN)
    await people.ask("ann", "DELETE", f"/api/task?id={other}")
    assert [said(row) for row in rows(people)] == [
        ("task.cancel", task, 'reason "too long"', "ann", 200),
        ("task.cancel", other, "", "ann", 200),
    ]


async def test_what_cannot_be_noted_is_not_done(people: People) -> None:
    people.judicator.access.audit_error = Unavailable("no majority")
    task = people.task_of(ANN)
    status, answer = await people.ask("ann", "POST", f"{TASKS}/{task}/cancel")
    assert (status, answer["code"]) == (503, "unavailable")
    assert "nothing was done: no majority" in answer["detail"]
    status, answer = await people.ask("ann", "DELETE", f"/api/task?id={task}")
    assert (status, answer["result"]) == (503, 1)
    assert people.judicator.tasks[task].state == "queued"  # type: ignore[index]
    assert (await people.ask("ann", "POST", TASKS, json=DOCUMENT))[0] == 201


async def test_an_older_judicator_keeps_no_log(site: Site) -> None:
    site.judicator.access.older = True
    task = site.judicator.add(submission(ANN))
    async with site.http.post(site.url(f"{TASKS}/{task.id}/cancel")) as answer:
        assert answer.status == 200
    assert not site.judicator.access.audit


async def test_refusals_of_users_are_noted_once_a_minute(people: People) -> None:
    task = people.task_of(BEN)
    for _ in range(3):
        await people.ask("vic", "POST", TASKS, json=DOCUMENT)
        await people.ask("ann", "POST", f"{TASKS}/{task}/cancel")
        await people.ask("ann", "POST", TASKS, json={**DOCUMENT, "user": BEN})
        await people.ask("ann", "DELETE", f"/api/task?id={task}")
        await people.ask(None, "GET", "/api/v2/users")
    found = [(row.entry.act, row.entry.user, row.entry.target, row.status) for row in rows(people)]
    assert found == [
        ("refused", "vic", f"POST {TASKS}", 403),
        ("task.cancel", "ann", f"POST {TASKS}/{task}/cancel", 403),
        ("refused", "ann", f"POST {TASKS}", 403),
    ]
    assert rows(people)[0].entry.detail == "this needs the role submitter; vic is a viewer"
    async with people.http.get(
        people.base + "/metrics", headers={"Authorization": f"Bearer {people.tokens['vic']}"}
    ) as answer:
        text = await answer.text()
    assert 'khala_refused_total{role="viewer"} 3.0' in text
    assert 'khala_refused_total{role="submitter"} 6.0' in text
    assert 'khala_identifications_total{outcome="known"}' in text


def test_refusals_are_remembered_within_a_bound() -> None:
    audit = Audit(None, lambda: 0.0)  # type: ignore[arg-type]
    for number in range(AUDIT_REFUSALS + 10):
        assert audit._is_due(f"user{number}", "refused")
    assert len(audit._refused) == AUDIT_REFUSALS
    assert not audit._is_due(f"user{AUDIT_REFUSALS}", "refused")
