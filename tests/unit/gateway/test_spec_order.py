"""Name, labels and priority of a task document."""

from __future__ import annotations

from typing import Any

import pytest

from khala.model.limits import LABEL_KEY_CHARS, LABEL_VALUE_CHARS, LABELS, NAME_CHARS
from tests.unit.gateway.documents import SMALLEST, issue_of, task_of


def test_they_are_kept() -> None:
    given = {"name": "a+b ✓", "labels": {"hw": "3", "course/id": "cs=101", "x": ""}, "priority": -7}
    task = task_of(SMALLEST | given)
    assert (task.name, task.labels, task.priority) == (given["name"], given["labels"], -7)


@pytest.mark.parametrize(
    ("given", "pointer", "code"),
    [
        ({"name": "x" * (NAME_CHARS + 1)}, "/name", "too_long"),
        ({"name": "a\nb"}, "/name", "invalid_value"),
        ({"labels": {str(n): "" for n in range(LABELS + 1)}}, "/labels", "too_many"),
        ({"labels": {"-a": "1"}}, "/labels/-a", "invalid_value"),
        ({"labels": {"a b": "1"}}, "/labels/a b", "invalid_value"),
        ({"labels": {"": "1"}}, "/labels/", "invalid_value"),
        ({"labels": {"k" * (LABEL_KEY_CHARS + 1): "1"}}, None, "invalid_value"),
        ({"labels": {"a": 1}}, "/labels/a", "wrong_type"),
        ({"labels": {"a": "v" * (LABEL_VALUE_CHARS + 1)}}, "/labels/a", "too_long"),
        ({"labels": {"a": "x\x1b[2J"}}, "/labels/a", "invalid_value"),
        ({"labels": ["a"]}, "/labels", "wrong_type"),
        ({"priority": 101}, "/priority", "above_maximum"),
        ({"priority": -101}, "/priority", "below_minimum"),
        ({"priority": 1.5}, "/priority", "wrong_type"),
    ],
)
def test_faults_are_named(given: dict[str, Any], pointer: str | None, code: str) -> None:
    issue = issue_of(SMALLEST | given)
    assert issue.code == code
    assert pointer is None or issue.pointer == pointer
