"""Task documents for tests, and what the checks say about them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from khala.protocol.rpc import SubmitTask
from khala.protocol.v2 import Issue
from roles.gateway.issues import Invalid
from roles.gateway.spec import parse_spec
from roles.gateway.spec_blobs import NO_BLOBS
from roles.gateway.spec_task import TaskDocument, task_of_spec
from tests.unit.gateway.conftest import config_of

CONFIG = config_of(Path("/nowhere"))
SMALLEST = {"stages": {"execute": {"command": "true"}}}


def task_of(document: object, parts: Mapping[str, bytes] | None = None) -> SubmitTask:
    spec = parse_spec(json.dumps(document).encode())
    return task_of_spec(TaskDocument(spec=spec, parts=parts or {}), NO_BLOBS, CONFIG, "key")


def issues_of(document: object, parts: Mapping[str, bytes] | None = None) -> list[Issue]:
    with pytest.raises(Invalid) as caught:
        task_of(document, parts)
    return caught.value.issues


def issue_of(document: object, parts: Mapping[str, bytes] | None = None) -> Issue:
    [issue] = issues_of(document, parts)
    return issue


def with_limits(**limits: object) -> dict[str, Any]:
    return {"stages": {"execute": {"command": "true", "limits": limits}}}


def unzip(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
