"""`/inputs`: everything that a task was given, to the last byte."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from msgspec.structs import replace

from khala.model.cases import Case
from khala.model.spec import Part
from khala.protocol import v2
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import UNKNOWN, task_of

#: Travels with the document, or not: the double stores what is larger than 16 KiB.
SMALL = {Part.COMPILE_SOURCE: b"PK\x05\x06" + 18 * b"\0", Part.CASES: b"1 23\xff"}
LARGE = {**SMALL, Part.EXECUTE_DATA: b"\0\xff" * 150_000}


@pytest.mark.parametrize("parts", [SMALL, LARGE])
async def test_every_part_comes_back_as_it_was(site: Site, parts: dict[Part, bytes]) -> None:
    given = replace(
        task_of(),
        parts={**parts, Part.EXECUTE_COMMAND: b"cat"},
        cases=(Case(name="a", stdin_bytes=3, expect_bytes=1), Case(name="b", expect_bytes=2)),
    )
    task = site.judicator.add(given)
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}/inputs")) as answer:
        assert answer.status == 200
        found = msgspec.json.decode(await answer.read(), type=v2.TaskInputs)
    assert {file.name for file in found.files} == given.parts.keys()
    assert found.cases == [v2.CaseInput(stdin=3, expected=1), v2.CaseInput(stdin=0, expected=2)]
    for file in found.files:
        content = given.parts[file.name]
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        async with site.http.get(site.url(file.href)) as answer:
            assert (answer.status, await answer.read()) == (200, content)
            assert answer.headers["ETag"] == f'"{file.sha256}"'
            assert answer.headers["Content-Disposition"].startswith("attachment;")
        async with site.http.head(site.url(file.href)) as answer:
            assert answer.headers["Content-Length"] == str(file.size)


async def test_a_part_that_there_is_not(site: Site) -> None:
    task = site.judicator.add(replace(task_of(), parts={Part.EXECUTE_COMMAND: b"true"}))
    for path, said in (
        (f"{task.id}/inputs/execute_data", "are: execute_command"),
        (f"{task.id}/inputs/..%2fetc", "are: execute_command"),
        (f"{UNKNOWN}/inputs", UNKNOWN),
    ):
        async with site.http.get(site.url(f"/api/v2/tasks/{path}")) as answer:
            assert answer.status == 404
            assert said in (await answer.json(content_type=None))["detail"]
