"""A document of another type than its address takes is refused by name, wherever one is taken."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from roles.gateway.app import HANDLERS
from roles.gateway.operations import Declared, declared_by
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import UNKNOWN

TAKING_DOCUMENTS = [each for each in declared_by(HANDLERS) if each.operation.document_types]


def url_of(site: Site, each: Declared) -> str:
    return site.url(re.sub(r"<\w+:\w+>", UNKNOWN, each.operation.path))


@pytest.mark.parametrize("each", TAKING_DOCUMENTS, ids=lambda each: each.name)
@pytest.mark.parametrize(
    "given", ["application/x-www-form-urlencoded", "text/plain", "application/jsonx", "json", None]
)
async def test_another_type_is_refused(site: Site, each: Declared, given: str | None) -> None:
    headers = {} if given is None else {"Content-Type": given}
    async with site.http.request(
        each.operation.method,
        url_of(site, each),
        data=b"{}",
        headers=headers,
        skip_auto_headers=["Content-Type"],
    ) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["code"]) == (415, "unsupported_media_type")
    assert problem["field"] == "Content-Type"
    for expected in each.operation.document_types:
        assert expected in problem["detail"]
    assert (given or "none was given") in problem["detail"]


@pytest.mark.parametrize("each", TAKING_DOCUMENTS, ids=lambda each: each.name)
async def test_parameters_of_a_type_do_not_matter(site: Site, each: Declared) -> None:
    for given in ("application/json; charset=utf-8", "APPLICATION/JSON;charset=UTF-8"):
        async with site.http.request(
            each.operation.method,
            url_of(site, each),
            data=b"[",
            headers={"Content-Type": given},
        ) as response:
            # It was read and is none, or there is nothing that it could be for.
            assert response.status in (400, 404)


async def test_a_body_that_announces_no_length_has_a_type_too(site: Site) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    async with site.http.post(
        site.url("/api/v2/jobs"), data=pieces(), headers={"Content-Type": "text/plain"}
    ) as response:
        assert response.status == 415


async def test_what_has_no_body_needs_no_type(site: Site) -> None:
    """As `curl -X POST` and `curl -d ''` ask; the second one names a type for its nothing."""
    url = site.url(f"/api/v2/tasks/{UNKNOWN}/rerun")
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
        async with site.http.post(url, headers=headers) as response:
            assert response.status == 404
