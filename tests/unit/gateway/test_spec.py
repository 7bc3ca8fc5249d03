"""Every field of a task document: what is taken, what is refused, and in which words."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.model.errors import Rejected
from khala.model.limits import (
    SOURCES,
)
from khala.model.spec import ArtifactRequest, Part, Stage
from roles.gateway.issues import Invalid
from roles.gateway.spec import parse_spec
from tests.unit.gateway.conftest import DEFAULTS, MAXIMA, MIB
from tests.unit.gateway.documents import (
    SMALLEST,
    issue_of,
    task_of,
    unzip,
    with_limits,
    zip_of,
)


def test_a_task_that_says_little() -> None:
    task = task_of(SMALLEST)
    assert {part: data for part, data in task.parts.items() if data} == {
        Part.EXECUTE_COMMAND: b"true"
    }
    assert (task.user, task.compile_timeout_s, task.execute_timeout_s) == (0, 0, 0)
    assert task.execute_limits == DEFAULTS.with_timeout(0, MAXIMA.wall_ms)
    assert (task.environment, task.stage_environment, task.image, task.cache) == ({}, {}, "", True)
    assert task.artifacts is None
    assert task.key == "key"


def test_a_task_that_says_everything() -> None:
    task = task_of(
        {
            "user": 7,
            "sources": [
                {"path": "main.cpp", "text": "int main() {}\r\n"},
                {"path": "lib", "part": "lib", "unpack": "zip"},
            ],
            "data": [{"path": "raw.dat", "base64": "AAEC"}],
            "stages": {
                "compile": {"command": "make", "limits": {"wall_s": "30s", "memory": "1GiB"}},
                "execute": {
                    "command": "./main",
                    "env": {"LEVEL": "2"},
                    "limits": {
                        "wall_s": 1.5,
                        "cpu_s": "500ms",
                        "cpus": 2,
                        "memory": 268435456,
                        "pids": 64,
                        "output": "16MiB",
                        "file_size": 1000,
                        "disk": "100KiB",
                        "disk_files": 100,
                    },
                },
            },
            "stdin": {"text": "1 2\n"},
            "expect": {"stdout": {"text": "3\n"}},
            "env": {"MODE": "fast", "LEVEL": "1"},
            "image": "gcc-13",
            "cache": "off",
            "artifacts": {"collect": ["out/**", "*.log"], "max_total": "1MiB", "max_files": 3},
        },
        {"lib": zip_of({"a.h": b"// a", "deep/b.h": b"// b"})},
    )
    assert unzip(task.parts[Part.COMPILE_SOURCE]) == {
        "main.cpp": b"int main() {}\r\n",
        "lib/a.h": b"// a",
        "lib/deep/b.h": b"// b",
    }
    assert unzip(task.parts[Part.EXECUTE_DATA]) == {"raw.dat": b"\0\1\2"}
    assert task.parts[Part.EXECUTE_INPUT] == b"1 2\n"
    assert task.parts[Part.EXECUTE_STANDARD] == b"3\n"
    assert (task.compile_timeout_s, task.compile_limits.wall_ms) == (30, 30_000)
    assert task.compile_limits.memory_bytes == 1024 * MIB
    limits = task.execute_limits
    assert (limits.wall_ms, limits.cpu_ms, limits.cpus) == (1500, 500, 2.0)
    assert (limits.memory_bytes, limits.pids) == (256 * MIB, 64)
    assert (limits.output_bytes, limits.disk_files) == (16 * MIB, 100)
    # What the kernel counts in larger steps is rounded in the task's favour.
    assert (limits.file_bytes, limits.disk_bytes) == (1024, 100 * 1024)
    assert task.execute_timeout_s == 2
    assert task.environment == {"MODE": "fast", "LEVEL": "1"}
    assert task.stage_environment == {Stage.EXECUTE: {"LEVEL": "2"}}
    assert (task.user, task.image, task.cache) == (7, "gcc-13", False)
    assert task.artifacts == ArtifactRequest(globs=("out/**", "*.log"), max_bytes=MIB, max_files=3)


# ---- types ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "pointer", "code", "given"),
    [
        ({}, "/stages", "missing_field", None),
        ([], "", "wrong_type", None),
        ({**SMALLEST, "sorces": []}, "/sorces", "unknown_field", None),
        ({**SMALLEST, "a/b~c": 1}, "/a~1b~0c", "unknown_field", None),
        ({"stages": {"run": {"command": "x"}}}, "/stages/run", "unknown_field", None),
        ({"stages": {"execute": {}}}, "/stages/execute/command", "missing_field", None),
        ({"stages": {"execute": {"command": 3}}}, "/stages/execute/command", "wrong_type", 3),
        (with_limits(wal_s=1), "/stages/execute/limits/wal_s", "unknown_field", None),
        (with_limits(pids="many"), "/stages/execute/limits/pids", "wrong_type", "many"),
        (with_limits(pids=True), "/stages/execute/limits/pids", "wrong_type", True),
        ({**SMALLEST, "sources": [{}, 7]}, "/sources/1", "wrong_type", 7),
        ({**SMALLEST, "cache": "on"}, "/cache", "invalid_value", "on"),
        (
            {**SMALLEST, "sources": [{"path": "x", "text": "", "unpack": "rar"}]},
            "/sources/0/unpack",
            "invalid_value",
            "rar",
        ),
        ({**SMALLEST, "user": 1.5}, "/user", "wrong_type", 1.5),
        ({**SMALLEST, "artifacts": {}}, "/artifacts/collect", "missing_field", None),
        ({**SMALLEST, "expect": {}}, "/expect/stdout", "missing_field", None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_has_the_wrong_shape(document: object, pointer: str, code: str, given: object) -> None:
    issue = issue_of(document)
    assert (issue.pointer, issue.code, issue.given) == (pointer, code, given)
    assert issue.detail


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"stages": "\\ud800"}', b'{"x":' + b"[" * 100_000],
    ids=["empty", "cut", "bytes", "half a character", "deep"],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(Rejected):
        parse_spec(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_refused(body: bytes) -> None:
    with contextlib.suppress(Rejected):
        parse_spec(body)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["execute", "command", "limits", "path"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(["stages", "sources", "data", "stdin", "env", "artifacts", "image", "user"]),
    JSON,
)
def test_any_value_in_any_field_is_taken_or_refused(field: str, value: object) -> None:
    try:
        task_of({**SMALLEST, field: value})
    except Invalid as error:
        issues = error.issues
    else:
        issues = []
    assert [issue for issue in issues if not issue.pointer.startswith(f"/{field}")] == []


# ---- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "pointer", "code"),
    [
        ({"path": "a"}, "/sources/0", "missing_field"),
        ({"path": "a", "text": "", "base64": ""}, "/sources/0", "invalid_value"),
        ({"path": "a", "base64": "not base64!"}, "/sources/0/base64", "invalid_value"),
        ({"path": "a", "base64": "AAE"}, "/sources/0/base64", "invalid_value"),
        ({"path": "a", "part": "there is none"}, "/sources/0/part", "invalid_value"),
        ({"text": "no path"}, "/sources/0/path", "invalid_value"),
        ({"path": "../a", "text": ""}, "/sources/0/path", "invalid_value"),
        ({"path": "/a", "text": ""}, "/sources/0/path", "invalid_value"),
        ({"path": "a//b", "text": ""}, "/sources/0/path", "invalid_value"),
        ({"path": "a\n", "text": ""}, "/sources/0/path", "invalid_value"),
        ({"path": "x" * 300, "text": ""}, "/sources/0/path", "invalid_value"),
        ({"path": "lib", "text": "no zip", "unpack": "zip"}, "/sources/0", "invalid_value"),
    ],
)
def test_a_source_that_is_refused(source: object, pointer: str, code: str) -> None:
    issue = issue_of({**SMALLEST, "sources": [source]})
    assert (issue.pointer, issue.code) == (pointer, code)


def test_one_archive_alone_is_stored_as_it_came() -> None:
    archive = b"whether this is an archive shows when it is unpacked"
    document = {**SMALLEST, "sources": [{"part": "all", "unpack": "zip"}]}
    assert task_of(document, {"all": archive}).parts[Part.COMPILE_SOURCE] == archive


def test_a_file_given_twice_is_refused() -> None:
    archive = zip_of({"main.cpp": b""})
    document = {
        **SMALLEST,
        "sources": [{"part": "zip", "unpack": "zip"}, {"path": "main.cpp", "text": ""}],
    }
    issue = issue_of(document, {"zip": archive})
    assert (issue.pointer, issue.code, issue.given) == ("/sources/1", "duplicate", "main.cpp")


def test_a_part_that_is_not_mentioned_is_refused() -> None:
    issue = issue_of(SMALLEST, {"lib": b""})
    assert (issue.pointer, issue.code, issue.given) == ("", "unused_part", "lib")


def test_too_many_sources() -> None:
    def document(count: int) -> dict[str, Any]:
        return {**SMALLEST, "data": [{"path": f"f{n}", "text": ""} for n in range(count)]}

    assert len(unzip(task_of(document(SOURCES)).parts[Part.EXECUTE_DATA])) == SOURCES
    issue = issue_of(document(SOURCES + 1))
    assert (issue.pointer, issue.code, issue.limit, issue.given) == (
        "/data",
        "too_many",
        SOURCES,
        SOURCES + 1,
    )
