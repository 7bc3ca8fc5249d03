"""Words that change tasks, and the document that they become."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from khala.client import AsyncKhala, NewTask, Row, StageOf, TaskPatch
from khala.client.request import Json
from khala.model.errors import Rejected
from khala.model.ids import TaskId
from khala.model.task import TaskState
from khala.protocol.v2 import Acted, Page
from roles.client import exits
from roles.client.job_acts import job_of
from roles.client.patch_acts import HOLD, Change, change_matching, labels_in, priority_in
from roles.client.request import Options, task_of

ROW = Row(
    id=TaskId("6b04d4787d852fb9eb7f7a4e"),
    user=7,
    state=TaskState.QUEUED,
    kv2_status=0,
    reason=None,
    executor=None,
    attempt=0,
    created_at=datetime(2026, 11, 24, tzinfo=UTC),
    updated_at=datetime(2026, 11, 24, tzinfo=UTC),
    done=False,
)


@pytest.mark.parametrize(
    ("patch", "document"),
    [
        (TaskPatch(), {}),
        (TaskPatch(held=False), {"held": False}),
        (TaskPatch(name=None, labels=None), {"name": None, "labels": None}),
        (
            TaskPatch(labels={"a": "1", "b": None}, priority=-3),
            {"labels": {"a": "1", "b": None}, "priority": -3},
        ),
    ],
)
def test_a_patch_holds_what_was_given(patch: TaskPatch, document: dict[str, Any]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(patch)) == document


def test_labels_stand_beside_tasks() -> None:
    tasks, change = labels_in(["last", "a/b=1=2", "JOB:1-3", "draft-", "c="])
    assert tasks == ["last", "JOB:1-3"]
    assert change.patch.labels == {"a/b": "1=2", "draft": None, "c": ""}
    with pytest.raises(Rejected, match="KEY=VALUE"):
        labels_in(["last"])


def test_a_priority_stands_last() -> None:
    tasks, change = priority_in(["last", "JOB:1-3", "-5"])
    assert (tasks, change.patch.priority) == (["last", "JOB:1-3"], -5)
    with pytest.raises(Rejected, match=r"-100 to 100 .*'high' was"):
        priority_in(["last", "high"])


def test_a_task_is_submitted_as_held() -> None:
    assert task_of(Options(command=("true",), hold=True)).document()["held"] is True
    assert "held" not in NewTask(execute=StageOf("true")).document()


def test_an_array_is_held_as_a_whole() -> None:
    held = NewTask(execute=StageOf("true"), held=True)
    document = job_of(held, "0-3", None, None).document()
    assert document["held"] is True
    assert "held" not in document["task"]


class Known:
    """A gateway with two tasks, of which one begins before it is reached."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    async def list_page(self, *, filters: dict[str, str], limit: int, cursor: str | None) -> Page:
        self.counted.append(filters["state"])
        return Page(items=[ROW, ROW], next_cursor=None)

    async def patch_matching(self, matching: Json, count: int, patch: TaskPatch) -> Acted:
        assert (matching, count) == ({"user": 7}, 2)
        late = int(patch.of_waiting)
        return Acted(
            matched=2,
            cancelled=0,
            already_done=0,
            failed=0,
            failures=[],
            patched=2 - late,
            not_waiting=late,
        )


def test_all_of_a_filter_are_changed_after_their_number_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = Known()

    def change(wanted: Change, *, sure: bool) -> int:
        matching = change_matching(cast(AsyncKhala, known), {"user": 7}, wanted, sure=sure)
        return asyncio.run(matching)

    with pytest.raises(Rejected, match="2 tasks would be held; say --yes"):
        change(HOLD, sure=False)
    assert change(HOLD, sure=True) == exits.CONFLICT
    said = capsys.readouterr()
    assert (said.out, said.err) == ("1 held\n", "khala: 1 do not wait any more\n")
    assert change(labels_in(["a=b"])[1], sure=True) == 0
    assert capsys.readouterr().out == "2 labelled\n"
    assert known.counted[1] == "queued"
    assert set(known.counted[2].split(",")) == set(TaskState)
