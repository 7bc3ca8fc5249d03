"""Who gets past the guard: tokens, cookies, and browsers led here by strangers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from khala.model.errors import Rejected
from tests.unit.gateway.conftest import TOKEN, Site, config_of, running

OTHER = {"Origin": "https://evil.example"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest_asyncio.fixture
async def locked(site: Site, secret_file: Path, token_file: Path) -> AsyncIterator[str]:
    config = msgspec.structs.replace(
        config_of(secret_file, site.judicator.address), token_file=token_file
    )
    async with running(config) as base:
        yield base


@pytest.mark.parametrize(
    "path", ["/api/task/list", "/api/test", "/api/v2/status", "/api/v2/tasks", "/metrics"]
)
async def test_the_api_needs_the_token(site: Site, locked: str, path: str) -> None:
    for headers, status in [
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer caf\xe9"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Cookie": f"khala_session={TOKEN}"}, 401),
    ]:
        async with site.http.get(locked + path, headers=headers) as response:
            assert response.status == status
            if status == 401:
                assert response.content_type == "application/problem+json"
                assert (await response.json(content_type=None))["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/startupz", "/leader", "/version", "/", "/tasks/new"]
)
async def test_pages_and_probes_do_not(site: Site, locked: str, path: str) -> None:
    async with site.http.get(locked + path) as response:
        assert response.status == 200


async def test_a_session_stands_for_the_token(locked: str) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        session = locked + "/api/v2/session"
        async with browser.post(session, json={"token": "wrong"}) as response:
            assert response.status == 401
        for unreadable, status in (
            (b"", 400),
            (b'{"nothing": 1}', 422),
            (b'{"token": "\xff"}', 400),
            (b" " * 20_000, 413),
        ):
            async with browser.post(session, data=unreadable, headers=JSON) as response:
                assert response.status == status
        async with browser.post(session, json={"token": TOKEN}) as response:
            assert response.status == 204
            cookie = response.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert TOKEN not in cookie
        async with browser.get(locked + "/api/task/list") as response:
            assert response.status == 200
        async with browser.delete(session) as response:
            assert response.status == 204
        async with browser.get(locked + "/api/task/list") as response:
            assert response.status == 401


async def test_a_token_that_others_can_read_is_refused(
    site: Site, secret_file: Path, token_file: Path
) -> None:
    token_file.chmod(0o644)
    config = msgspec.structs.replace(
        config_of(secret_file, site.judicator.address), token_file=token_file
    )
    with pytest.raises(Rejected, match="chmod 600"):
        async with running(config):
            pytest.fail("the gateway started")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        (OTHER, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_changes_come_from_the_gateways_own_pages(
    site: Site, headers: dict[str, str], status: int
) -> None:
    async with site.http.post(site.url("/api/task"), data={}, headers=headers) as response:
        assert response.status == status
    own = headers or {"Origin": site.base}
    async with site.http.delete(site.url("/api/task"), headers=own) as response:
        assert response.status == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7000", 200),
        ("LOCALHOST.", 200),
        ("[::1]:7000", 200),
        ("gateway.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[", 421),
        ("", 421),
    ],
)
async def test_an_open_gateway_answers_to_its_own_names(site: Site, host: str, status: int) -> None:
    for path in ("/api/task/list", "/"):
        async with site.http.get(site.url(path), headers={"Host": host}) as response:
            assert response.status == status
    async with site.http.get(site.url("/livez"), headers={"Host": host}) as response:
        assert response.status == 200
