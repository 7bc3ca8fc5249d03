"""Words that change tasks, and the document that they become."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from khala.client import NewTask, StageOf, TaskPatch
from khala.model.errors import Rejected
from roles.client.patch_acts import labels_in, priority_in
from roles.client.request import Options, task_of


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
