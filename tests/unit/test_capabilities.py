"""Every field of a task that may be left out has its number, and tasks carry the highest."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields, replace

from khala.model.capabilities import (
    CAPABILITY,
    CASE_ARTIFACTS_SINCE,
    KNOWN_SINCE,
    MEMBER_SINCE,
    needs_of,
    shapes_of,
)
from khala.model.cases import Case
from khala.model.spec import (
    ArtifactRequest,
    Network,
    OnOutputLimit,
    Stage,
    StageLimits,
    TaskOptions,
)
from tests.unit.core.desk import SPEC


def optional(field: FieldInfo) -> bool:
    return field.default is not NODEFAULT or field.default_factory is not NODEFAULT


def structs_in(hint: object) -> set[type[Struct]]:
    if isinstance(hint, type) and issubclass(hint, Struct):
        return {hint}
    return {found for each in get_args(hint) for found in structs_in(each)}


def reachable(root: type[Struct]) -> set[type[Struct]]:
    found, ahead = {root}, {root}
    while ahead:
        hints = get_type_hints(ahead.pop()).values()
        new = {kind for hint in hints for kind in structs_in(hint)} - found
        found |= new
        ahead |= new
    return found


def test_every_field_that_may_be_left_out_has_a_number() -> None:
    assert set(KNOWN_SINCE) == reachable(TaskOptions)
    for kind, numbers in KNOWN_SINCE.items():
        assert set(numbers) == {field.name for field in fields(kind) if optional(field)}, kind


def test_the_capability_is_the_highest_number() -> None:
    of_fields = (since for numbers in KNOWN_SINCE.values() for since in numbers.values())
    assert max(*of_fields, MEMBER_SINCE, CASE_ARTIFACTS_SINCE) == CAPABILITY


def limits(**changes: object) -> StageLimits:
    return replace(SPEC.execute_limits, **changes)


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, 0),
        ({"image": "gcc-13"}, 0),
        ({"environment": {"A": "b"}}, 1),
        ({"stage_environment": {Stage.EXECUTE: {"A": "b"}}}, 1),
        ({"cache": False}, 1),
        ({"network": Network.NONE}, 4),
        ({"network": Network.FULL}, 4),
        ({"artifacts": ArtifactRequest(globs=("*",), max_bytes=1, max_files=1)}, 1),
        ({"cases": (Case(name="1"),)}, 2),
        (
            {
                "cases": (Case(name="1"),),
                "artifacts": ArtifactRequest(globs=("*",), max_bytes=1, max_files=1),
            },
            5,
        ),
        ({"execute_limits": limits(cpus=2.0)}, 0),
        ({"execute_limits": limits(disk_files=1)}, 0),
        ({"priority": 5, "name": "x", "labels": {"a": "b"}}, 0),
        ({"compile_limits": limits(on_output_limit=OnOutputLimit.TRUNCATE)}, 1),
    ],
)
def test_a_task_needs_the_newest_of_what_it_uses(changes: dict[str, object], needs: int) -> None:
    spec = replace(SPEC, **changes)
    assert needs_of(spec) == needs


def test_shapes_tell_what_an_executor_knows_apart() -> None:
    assert shapes_of([], 0) == ("",)
    assert set(shapes_of(["a"], CAPABILITY)) >= {"", "+1", "a", "a+1"}
    # A judicator that is older than the executor answers for no more than it knows itself.
    assert shapes_of(["a"], CAPABILITY + 1) == shapes_of(["a"], CAPABILITY)
    assert replace(SPEC, image="a", needs=1).shape in shapes_of(["a"], 1)
    full = replace(SPEC, image="a", network=Network.FULL, needs=CAPABILITY)
    assert full.shape not in shapes_of(["a"], CAPABILITY, (Network.NONE, Network.LOOPBACK))
    assert full.shape in shapes_of(["a"], CAPABILITY, tuple(Network))
    assert full.shape not in shapes_of(["a"], CAPABILITY - 1, tuple(Network))
    assert replace(full, network=Network.NONE).shape in shapes_of(["a"], CAPABILITY)
    assert replace(SPEC, needs=CAPABILITY + 1).shape not in shapes_of(["a"], CAPABILITY + 1)
