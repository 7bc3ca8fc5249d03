"""Name, labels and priority of a task document."""

from __future__ import annotations

from typing import Any

import pytest

from khala.model.limits import LABEL_KEY_CHARS, LABEL_VALUE_CHARS, LABELS, NAME_CHARS, RESOURCES
from tests.unit.gateway.documents import SMALLEST, issue_of, task_of


def test_they_are_kept() -> None:
    given = {"name": "a+b ✓", "labels": {"hw": "3", "course/id": "cs=101", "x": ""}, "priority": -7}
    task = task_of(SMALLEST | given)
    assert (task.name, task.labels, task.priority) == (given["name"], given["labels"], -7)


def test_needs_are_whole_numbers_within() -> None:
    given = {
        "resources": {"cpus": 1.5, "memory": "8GiB", "disk": "1TiB", "gpu": 2, "none": 0},
        "placement": {"require": {"arch": "x86_64"}, "avoid": {"spot": "true"}},
    }
    wants = task_of(SMALLEST | given).wants
    assert wants.amounts == {"cpus": 1500, "memory": 8 << 30, "disk": 1 << 40, "gpu": 2}
    assert (wants.require, wants.avoid, wants.prefer) == ({"arch": "x86_64"}, {"spot": "true"}, {})
    assert task_of(SMALLEST).wants.digest == ""


@pytest.mark.parametrize(
    ("given", "pointer", "code"),
    [
        ({"resources": {"gpu": 1.5}}, "/resources/gpu", "invalid_value"),
        ({"resources": {"gpu": -1}}, "/resources/gpu", "below_minimum"),
        ({"resources": {"cpus": "many"}}, "/resources/cpus", "invalid_value"),
        ({"resources": {"memory": "8 elephants"}}, "/resources/memory", "invalid_value"),
        ({"resources": {"memory": 2**54}}, "/resources/memory", "above_maximum"),
        ({"resources": {"a b": 1}}, "/resources/a b", "invalid_value"),
        ({"resources": {str(n): 1 for n in range(RESOURCES + 1)}}, "/resources", "too_many"),
        ({"resources": {"gpu": True}}, "/resources/gpu", "invalid_value"),
        ({"placement": {"require": {"a": 1}}}, "/placement/require/a", "wrong_type"),
        ({"placement": {"avoid": {"-": "1"}}}, "/placement/avoid/-", "invalid_value"),
        ({"placement": {"wish": {}}}, "/placement/wish", "unknown_field"),
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
