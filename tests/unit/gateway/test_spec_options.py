"""Limits and options of a task document: at their bounds, and beyond them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from khala.model.limits import (
    ARTIFACT_BYTES,
    ARTIFACT_DEFAULT_BYTES,
    ARTIFACT_FILES,
    ARTIFACT_GLOBS,
    COMMAND_BYTES,
    ENVIRONMENT_BYTES,
    ENVIRONMENT_VARIABLES,
    ISSUES,
)
from khala.model.spec import ArtifactRequest, Network, Part, Stage
from roles.gateway.spec import parse_spec
from tests.unit.gateway.conftest import MIB
from tests.unit.gateway.documents import (
    SMALLEST,
    issue_of,
    issues_of,
    task_of,
    with_limits,
)

#: name, smallest and largest value, and the setting that moves the latter.
BOUNDS: list[tuple[str, float, float, str]] = [
    ("wall_s", 0.01, 86400, "--wall-max"),
    ("cpu_s", 0.01, 4 * 86400, "--cpus-max"),
    ("cpus", 0.01, 4, "--cpus-max"),
    ("memory", 8 * MIB, 2048 * MIB, "--memory-max"),
    ("pids", 1, 1024, "--pids-max"),
    ("output", 1, 128 * MIB, "--output-max"),
    ("file_size", 512, 1024 * MIB, "--file-size-max"),
    ("disk", 64 * 1024, 1024 * MIB, "--disk-max"),
    ("disk_files", 16, 65536, "--disk-files-max"),
]
FRACTIONAL = {"wall_s", "cpu_s", "cpus"}


def step_of(name: str) -> float:
    return 0.001 if name in FRACTIONAL else 1


def test_every_limit_is_tested() -> None:
    assert [name for name, *_ in BOUNDS] == list(
        msgspec.json.schema(type(parse_spec(json.dumps(SMALLEST).encode()).stages.execute.limits))[  # type: ignore[union-attr]
            "$defs"
        ]["LimitsSpec"]["properties"]
    )


@pytest.mark.parametrize(("name", "least", "most", "flag"), BOUNDS, ids=str)
@pytest.mark.parametrize("stage", Stage)
def test_a_limit_at_its_bounds_is_taken_and_beyond_refused(
    name: str, least: float, most: float, flag: str, stage: Stage
) -> None:
    def document(value: float) -> dict[str, Any]:
        return {"stages": {stage: {"command": "x", "limits": {name: value}}}}

    task_of(document(least))
    task_of(document(most))
    pointer = f"/stages/{stage}/limits/{name}"
    above = most + step_of(name)
    issue = issue_of(document(above))
    assert (issue.pointer, issue.code) == (pointer, "above_maximum")
    assert (issue.limit, issue.given) == (most, above)
    assert flag in issue.detail
    below = round(least - step_of(name), 3)
    issue = issue_of(document(below))
    assert (issue.pointer, issue.limit) == (pointer, least if below >= 0 else issue.limit)
    assert issue.code in {"below_minimum", "invalid_value"}
    assert issue.given == below


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("wall_s", "2 minutes", "is not a duration such as 2s"),
        ("wall_s", "-1s", "is not a duration"),
        ("cpu_s", "", "is not a duration"),
        ("memory", "lots", "is not a size such as 512MiB"),
        ("memory", "1GB", "is not a size"),
        ("disk", -5, "is not a size"),
        ("memory", 10**40, "is not a size"),
        ("pids", -(10**30), "is not a whole number"),
    ],
)
def test_a_limit_that_is_no_amount(name: str, given: object, words: str) -> None:
    issue = issue_of(with_limits(**{name: given}))
    assert (issue.pointer, issue.code) == (f"/stages/execute/limits/{name}", "invalid_value")
    assert words in issue.detail


def test_processor_time_follows_from_wall_time_and_processors() -> None:
    limits = task_of(with_limits(wall_s=2, cpus=0.5)).execute_limits
    assert limits.cpu_ms == 1000
    assert task_of(with_limits(wall_s=2, cpus=3)).execute_limits.cpu_ms == 6000


def test_a_number_beyond_all_bounds_is_refused_as_any_other() -> None:
    assert issue_of(with_limits(cpus=1e308)).code == "above_maximum"


def test_all_faults_are_told_at_once() -> None:
    document = with_limits(memory="1TiB", pids=0)
    document["user"] = -1
    found = {issue.pointer: issue.code for issue in issues_of(document)}
    assert found == {
        "/user": "below_minimum",
        "/stages/execute/limits/memory": "above_maximum",
        "/stages/execute/limits/pids": "below_minimum",
    }


def test_a_flood_of_faults_is_cut() -> None:
    assert len(issues_of({**SMALLEST, "env": {f"1{n}": "" for n in range(100)}})) == ISSUES


# ---- options --------------------------------------------------------------------------------


def test_commands() -> None:
    def document(command: str) -> dict[str, Any]:
        return {"stages": {"compile": {"command": command}}}

    assert task_of(document("x" * COMMAND_BYTES)).parts[Part.COMPILE_COMMAND]
    issue = issue_of(document("x" * (COMMAND_BYTES + 1)))
    assert (issue.code, issue.limit, issue.given) == ("too_long", COMMAND_BYTES, COMMAND_BYTES + 1)
    assert issue_of(document(" \n")).pointer == "/stages/compile/command"
    assert issue_of({"stages": {}}).pointer == "/stages"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("", "x", "invalid_value"),
        ("1A", "x", "invalid_value"),
        ("A-B", "x", "invalid_value"),
        ("A=B", "x", "invalid_value"),
        ("É", "x", "invalid_value"),
        ("A\n", "x", "invalid_value"),
        ("A" * 129, "x", "invalid_value"),
        ("KHALA_TASK", "x", "invalid_value"),
        ("A", 1, "wrong_type"),
        ("A", None, "wrong_type"),
        ("A", "a\0b", "invalid_value"),
    ],
)
@pytest.mark.parametrize("where", ["/env", "/stages/execute/env"])
def test_a_variable_that_is_refused(name: str, value: object, code: str, where: str) -> None:
    document: dict[str, Any] = {"stages": {"execute": {"command": "true"}}}
    place = document if where == "/env" else document["stages"]["execute"]
    place["env"] = {name: value}
    issue = issue_of(document)
    assert issue.pointer == f"{where}/{name}"
    assert issue.code == code


def test_variables_are_bounded_in_number_and_size() -> None:
    good = {f"A{n}": "" for n in range(ENVIRONMENT_VARIABLES)}
    assert task_of({**SMALLEST, "env": good}).environment == good
    issue = issue_of({**SMALLEST, "env": {**good, "LD_PRELOAD": "x"}})
    assert (issue.pointer, issue.code, issue.given) == ("/env", "too_many", len(good) + 1)
    room = ENVIRONMENT_BYTES - len("A") - 2
    task_of({**SMALLEST, "env": {"A": "x" * room}})
    issue = issue_of({**SMALLEST, "env": {"A": "x" * (room + 1)}})
    assert (issue.code, issue.limit) == ("too_long", ENVIRONMENT_BYTES)
    # Both together count for the stage.
    document: dict[str, Any] = {
        "env": {"A": "x" * room},
        "stages": {"execute": {"command": "true", "env": {"B": "1"}}},
    }
    assert issue_of(document).pointer == "/stages/execute/env"


@pytest.mark.parametrize("label", ["gcc 13", "-x", ".", "a/b", "x" * 65, "é"])
def test_an_image_label_that_is_none(label: str) -> None:
    issue = issue_of({**SMALLEST, "image": label})
    assert (issue.pointer, issue.code) == ("/image", "invalid_value")


@pytest.mark.parametrize("network", Network)
def test_a_network_is_one_of_three(network: Network) -> None:
    assert task_of({**SMALLEST, "network": network.value}).network is network
    assert task_of(SMALLEST).network is Network.LOOPBACK
    issue = issue_of({**SMALLEST, "network": "host"})
    assert (issue.pointer, issue.code) == ("/network", "invalid_value")


@pytest.mark.parametrize(
    ("artifacts", "pointer", "code"),
    [
        ({"collect": []}, "/artifacts/collect", "missing_field"),
        ({"collect": ["a"] * (ARTIFACT_GLOBS + 1)}, "/artifacts/collect", "too_many"),
        ({"collect": ["a", "../b"]}, "/artifacts/collect/1", "invalid_value"),
        ({"collect": ["["]}, "/artifacts/collect/0", "invalid_value"),
        ({"collect": ["a"], "max_total": 0}, "/artifacts/max_total", "below_minimum"),
        (
            {"collect": ["a"], "max_total": ARTIFACT_BYTES + 1},
            "/artifacts/max_total",
            "above_maximum",
        ),
        ({"collect": ["a"], "max_total": "big"}, "/artifacts/max_total", "invalid_value"),
        ({"collect": ["a"], "max_files": 0}, "/artifacts/max_files", "below_minimum"),
        (
            {"collect": ["a"], "max_files": ARTIFACT_FILES + 1},
            "/artifacts/max_files",
            "above_maximum",
        ),
    ],
)
def test_artifacts_that_are_refused(artifacts: object, pointer: str, code: str) -> None:
    issue = issue_of({**SMALLEST, "artifacts": artifacts})
    assert (issue.pointer, issue.code) == (pointer, code)


def test_artifacts_have_defaults() -> None:
    assert task_of({**SMALLEST, "artifacts": {"collect": ["a"]}}).artifacts == ArtifactRequest(
        globs=("a",), max_bytes=ARTIFACT_DEFAULT_BYTES, max_files=ARTIFACT_FILES
    )
