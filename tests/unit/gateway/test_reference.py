"""The second API's description of itself: complete, valid, and readable without a script."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest

from khala.net.request_ids import HEADER
from khala.protocol.v2 import PROBLEMS, ProblemCode
from khala.protocol.v2.problems import Problem
from roles.gateway.app import HANDLERS
from roles.gateway.operations import declared_by
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import UNKNOWN


def schemas(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = site.contract.document["components"]["schemas"]
    return found


def test_every_reference_leads_somewhere(site: Site) -> None:
    document = site.contract.document
    text = str(document)
    names = set(re.findall(r"#/components/schemas/([\w.]+)", text))
    assert names
    assert names == schemas(site).keys()
    ids = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]
    assert len(ids) == len(set(ids))


def test_every_operation_says_what_it_does() -> None:
    for each in declared_by(HANDLERS):
        assert each.text, each.name


def test_descriptions_are_those_of_the_source(site: Site) -> None:
    output = schemas(site)["Output"]
    assert output["properties"]["truncated"]["description"] == (
        "`text` and `tail` are not all that was kept."
    )
    assert "beginning of a stream" in output["description"]


def test_limits_are_this_gateways(site: Site) -> None:
    memory = schemas(site)["LimitsSpec"]["properties"]["memory"]["anyOf"]
    assert {"type": "integer", "minimum": 8 << 20, "maximum": 2048 << 20} in memory


def test_a_request_document_is_described_as_it_is_read(site: Site) -> None:
    body = {
        "components": site.contract.document["components"],
        "$ref": "#/components/schemas/TaskSpecV2",
    }
    validator = jsonschema_rs.validator_for(body)
    assert validator.is_valid({"stages": {"execute": {"command": "x", "limits": {"wall_s": "2s"}}}})
    for wrong in ({}, {"stages": {}, "usr": 1}, {"stages": {"execute": {"command": 1}}}):
        assert not validator.is_valid(wrong), wrong


def test_every_code_is_explained_with_its_status() -> None:
    assert PROBLEMS.keys() == set(ProblemCode)
    for meaning in PROBLEMS.values():
        assert 400 <= meaning.status < 600
        assert meaning.happened.endswith(".") and meaning.next_step.endswith(".")


async def test_the_type_of_a_problem_is_a_place_in_a_page(site: Site) -> None:
    async with site.http.get(site.url(f"/api/v2/tasks/{UNKNOWN}")) as response:
        problem = await response.json(content_type=None)
    page, _, code = problem["type"].partition("#")
    async with site.http.get(site.url(page)) as response:
        assert response.content_type == "text/html"
        assert f'id="{code}"' in await response.text()


async def test_the_reference_needs_no_script_and_no_network(site: Site) -> None:
    async with site.http.get(site.url("/docs")) as response:
        text = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "<script" not in text
    assert not re.search(r'(src|href)="(https?:)?//', text)
    for name in ("Task", "TaskSpecV2", "LimitsSpec"):
        assert f'<h3 id="{name}">' in text
    for anchor in re.findall(r'href="#(\w+)"', text):
        assert f'id="{anchor}"' in text, anchor


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a-name.of_mine~1", True), ("x" * 65, False), ('"><b>', False), ("", False)],
)
async def test_a_request_keeps_its_id_or_gets_one(site: Site, given: str, kept: bool) -> None:
    url = site.url(f"/api/v2/tasks/{UNKNOWN}")
    async with site.http.get(url, headers={HEADER: given}) as response:
        shown = response.headers[HEADER]
        problem = await response.json(content_type=None)
    assert problem["request_id"] == shown
    assert (shown == given) is kept
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", shown)


async def test_the_judicator_is_told_the_id(site: Site) -> None:
    url = site.url(f"/api/v2/tasks/{UNKNOWN}")
    async with site.http.get(url, headers={HEADER: "on-its-way"}):
        pass
    assert site.judicator.request_ids[-1] == "on-its-way"


@pytest.mark.parametrize("path", ["/api/v2/status?colour=red", "/api/v2/nodes?limit=3"])
async def test_a_parameter_that_is_not_known_is_refused(site: Site, path: str) -> None:
    async with site.http.get(site.url(path)) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["code"]) == (400, "invalid_request")
    assert problem["field"] in path


async def test_a_parameter_that_is_given_twice_is_refused(site: Site) -> None:
    """One of two labels would be no filter, and nobody would see which."""
    url = site.url("/api/v2/tasks?label=hw=3&user=7&label=set=a")
    async with site.http.get(url) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["code"], problem["field"]) == (400, "invalid_request", "label")
    assert problem["detail"] == (
        "label: it is given 2 times and can be once; several values have commas between them"
    )


def test_a_problem_of_an_older_gateway_is_read() -> None:
    assert Problem(title="t", status=400, code="c", detail="d").errors == []
