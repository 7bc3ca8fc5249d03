"""Bodies that are nearly documents: each is refused where it is wrong, in words of documents."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from khala.model.errors import Rejected
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid
from roles.gateway.spec import TaskSpecV2
from roles.gateway.spec_job import JobSpecV2
from roles.gateway.v2_backups import BackupSpec
from roles.gateway.v2_joining import JoinTokenSpec
from roles.gateway.v2_nodes import DrainSpec

SMALLEST: dict[str, Any] = {"stages": {"execute": {"command": "true"}}}


def refused(kind: type, body: bytes) -> Rejected:
    with pytest.raises(Rejected) as raised:
        parse_document(msgspec.json.Decoder(kind), body)
    return raised.value


@pytest.mark.parametrize(
    ("kind", "document", "message"),
    [
        (TaskSpecV2, "x", "an object is needed, 'x' was given"),
        (TaskSpecV2, None, "an object is needed, null was given"),
        (TaskSpecV2, [], "an object is needed, a list was given"),
        (TaskSpecV2, {"stages": 1}, "/stages: an object is needed, 1 was given"),
        (
            TaskSpecV2,
            {"stages": {"execute": {"command": ["ls", "-l"]}}},
            "/stages/execute/command: a text is needed, a list was given",
        ),
        (
            TaskSpecV2,
            {**SMALLEST, "user": "7"},
            "/user: a whole number or null is needed, '7' was given",
        ),
        (
            TaskSpecV2,
            {**SMALLEST, "user": 1.5},
            "/user: a whole number or null is needed, 1.5 was given",
        ),
        (
            TaskSpecV2,
            {**SMALLEST, "held": "yes"},
            "/held: true or false is needed, 'yes' was given",
        ),
        (TaskSpecV2, {**SMALLEST, "env": []}, "/env: an object is needed, a list was given"),
        (
            TaskSpecV2,
            {**SMALLEST, "sources": [{"path": 1}]},
            "/sources/0/path: a text is needed, 1 was given",
        ),
        (TaskSpecV2, {**SMALLEST, "cases": {}}, "/cases: a list is needed, an object was given"),
        (
            TaskSpecV2,
            {**SMALLEST, "retention": [7]},
            "/retention: a number, a text or null is needed, a list was given",
        ),
        (TaskSpecV2, {**SMALLEST, "network": 3}, "/network: 3 is none of none, loopback, full"),
        (JobSpecV2, {"task": []}, "/task: an object or null is needed, a list was given"),
        (DrainSpec, {"deadline": True}, "/deadline: a number or a text is needed, true was given"),
        (BackupSpec, {"judicator": 5}, "/judicator: a text or null is needed, 5 was given"),
        (JoinTokenSpec, {"role": []}, "/role: a list is none of executor, gateway, judicator"),
    ],
)
def test_a_wrong_type_is_told_with_what_is_needed_and_given(
    kind: type, document: Any, message: str
) -> None:
    error = refused(kind, json.dumps(document).encode())
    assert isinstance(error, Invalid)
    assert error.message == message
    assert error.issues[0].code == "wrong_type"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is empty"),
        (b"{", "it ends, or an escape in it does, before it is complete"),
        (b"\xff", "invalid character (byte 0)"),
        (b'{"user": NaN}', "invalid character (byte 9)"),
    ],
)
def test_what_is_no_json_is_told_as_that(body: bytes, why: str) -> None:
    assert refused(TaskSpecV2, body).message == f"the document is not readable as JSON: {why}"
