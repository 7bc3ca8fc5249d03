"""Users at a gateway: who gets in, for how long, and what each role may do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from khala.model.access import Role
from khala.model.errors import Unavailable
from khala.model.tokens import TokenKind, mint
from khala.store.memory_state import MemoryRow
from roles.gateway import callers, log_reader, v2_events
from roles.gateway.config import GatewayConfig, LegacyApi
from tests.unit.gateway.conftest import TOKEN, Site, gateway_with, running
from tests.unit.gateway.people import ANN, BEN, DOCUMENT, TASKS, People

# ---- who gets in ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/task/list", "/api/v2/status", "/metrics", "/api/test"])
async def test_with_users_everybody_needs_a_token(people: People, path: str) -> None:
    unknown = mint(TokenKind.PERSONAL).text
    session = mint(TokenKind.SESSION).text
    for headers, status in [
        ({}, 401),
        ({"Authorization": f"Bearer {unknown}"}, 401),
        ({"Authorization": "Bearer something"}, 401),
        ({"Authorization": f"Bearer {people.tokens['vic']}"}, 200),
        # A cookie holds a session, and nothing else does.
        ({"Cookie": f"khala_session={people.tokens['vic']}"}, 401),
        ({"Cookie": f"khala_session={session}"}, 401),
    ]:
        async with people.http.get(people.base + path, headers=headers) as answer:
            assert answer.status == status
            if status == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert (await answer.json(content_type=None))["code"] == "unauthenticated"


async def test_without_users_a_token_that_is_unknown_does_no_harm(
    config: GatewayConfig, site: Site
) -> None:
    async with running(config) as base:
        headers = {"Authorization": f"Bearer {mint(TokenKind.PERSONAL).text}"}
        async with site.http.get(base + "/api/v2/status", headers=headers) as answer:
            assert answer.status == 200


async def test_the_gateways_own_token_is_an_administrators(
    config: GatewayConfig, site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    async with gateway_with(msgspec.structs.replace(config, token_file=file), site) as people:
        people.tokens["file"] = TOKEN
        for who, status in (("file", 200), ("ann", 201), (None, 401)):
            got, _ = await people.ask(who, "POST", f"{TASKS}?dry_run=true", json=DOCUMENT)
            assert got == (200 if status == 201 else status)
        status, _ = await people.ask("file", "POST", TASKS, json={**DOCUMENT, "user": BEN})
        assert status == 201
        assert people.judicator.submitted[-1].user == BEN


async def test_users_only_says_how_to_make_the_first_one(config: GatewayConfig, site: Site) -> None:
    config = msgspec.structs.replace(config, users_only=True)
    async with running(config) as base, site.http.get(base + "/api/v2/status") as answer:
        assert answer.status == 401
        detail = (await answer.json(content_type=None))["detail"]
        assert "khala.pex user create NAME --role admin" in detail
    async with gateway_with(config, site) as people:
        assert (await people.ask("vic", "GET", "/api/v2/status"))[0] == 200
        assert (await people.ask(None, "GET", "/api/v2/status"))[0] == 401
        # Whatever it is called by: nothing is open to a name that resolves to it.
        headers = {"Host": "khala.example", "Authorization": f"Bearer {people.tokens['vic']}"}
        async with people.http.get(people.base + "/api/v2/status", headers=headers) as answer:
            assert answer.status == 200


async def test_nobody_gets_in_while_nobody_can_say_who_it_is(people: People) -> None:
    people.judicator.broken = Unavailable("out of order")
    for who in ("ann", None):
        status, body = await people.ask(who, "GET", "/api/v2/status")
        assert (status, body["code"]) == (503, "unavailable")
    # KV2's clients read their own answers, and a monitor sees that the gateway lives.
    status, body = await people.ask("ann", "POST", "/api/task", data={})
    assert (status, body) == (503, {"id": None, "result": 1})
    status, body = await people.ask(None, "GET", "/api/judicators")
    assert (status, body) == (200, {"judicators": [], "result": 0})
    async with people.http.get(people.base + "/metrics") as answer:
        text = await answer.text()
        assert "khala_http_requests" in text
        assert "khala_tasks" not in text


# ---- roles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "least"),
    [
        ("GET", TASKS, None, "vic"),
        ("POST", f"{TASKS}?dry_run=true", DOCUMENT, "ann"),
        ("PUT", f"/api/v2/blobs/{'0' * 64}", None, "ann"),
        ("DELETE", "/api/v2/presets/small", None, "olga"),
        ("POST", "/api/v2/nodes/executor.1/drain", {}, "olga"),
    ],
)
async def test_each_role_may_what_those_below_it_may(
    people: People, method: str, path: str, body: Any, least: str
) -> None:
    ladder = ["vic", "ann", "olga", "adam"]
    for who in ladder:
        status, answer = await people.ask(who, method, path, json=body)
        if ladder.index(who) >= ladder.index(least):
            assert status not in (401, 403)
        else:
            role = people.judicator.access.users[who].role
            needed = people.judicator.access.users[least].role
            assert (status, answer["code"]) == (403, "forbidden")
            assert answer["detail"].startswith(f"this needs the role {needed}; {who} is a {role}")


async def test_a_token_may_allow_less_than_its_user(people: People) -> None:
    people.tokens["reader"] = people.judicator.access.make("ada", Role.ADMIN, 11, Role.VIEWER)
    assert (await people.ask("reader", "GET", TASKS))[0] == 200
    status, answer = await people.ask("reader", "POST", TASKS, json=DOCUMENT)
    assert (status, answer["detail"]) == (403, "this needs the role submitter; ada is a viewer")


async def test_kv2s_addresses_ask_for_roles_too(people: People) -> None:
    status, answer = await people.ask("vic", "POST", "/api/task", data={})
    assert (status, answer["code"]) == (403, "forbidden")
    assert (await people.ask("vic", "DELETE", "/api/task?id=1"))[0] == 403
    assert (await people.ask("vic", "GET", "/api/task/list"))[0] == 200
    assert (await people.ask("ann", "POST", "/api/task", data={}))[1]["result"] == 4


# ---- KV2's addresses --------------------------------------------------------------------------


async def test_legacy_open_lets_kv2s_clients_in_and_nobody_else(
    config: GatewayConfig, site: Site
) -> None:
    config = msgspec.structs.replace(config, legacy_api=LegacyApi.OPEN)
    async with gateway_with(config, site) as people:
        assert (await people.ask(None, "GET", "/api/task/list"))[0] == 200
        task = people.task_of(BEN)
        assert (await people.ask(None, "DELETE", f"/api/task?id={task}"))[1]["result"] == 0
        assert (await people.ask(None, "GET", TASKS))[0] == 401
        assert (await people.ask("vic", "POST", "/api/task", data={}))[0] == 403
        headers = {"Host": "evil.example"}
        async with people.http.get(people.base + "/api/task/list", headers=headers) as answer:
            assert answer.status == 421


async def test_legacy_off_removes_kv2s_addresses(config: GatewayConfig, site: Site) -> None:
    config = msgspec.structs.replace(config, legacy_api=LegacyApi.OFF)
    async with gateway_with(config, site) as people:
        for path in ("/api/task/list", "/api/test", "/api/executors"):
            for headers in ({}, {"Authorization": f"Bearer {people.tokens['adam']}"}):
                async with people.http.get(people.base + path, headers=headers) as answer:
                    assert answer.status == 404
        assert (await people.ask("vic", "GET", TASKS))[0] == 200


# ---- sessions ---------------------------------------------------------------------------------


async def test_a_session_of_a_personal_token_is_its_user(people: People) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    session = people.base + "/api/v2/session"
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        for wrong in ("wrong", mint(TokenKind.PERSONAL).text, mint(TokenKind.SESSION).text):
            async with browser.post(session, json={"token": wrong}) as answer:
                assert answer.status == 401
        async with browser.post(session, json={"token": people.tokens["ann"]}) as answer:
            assert answer.status == 204
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert people.tokens["ann"] not in cookie
        async with browser.post(people.base + TASKS, json=DOCUMENT) as answer:
            assert answer.status == 201
        assert people.judicator.submitted[-1].user == ANN
        kept = {cookie.key: cookie.value for cookie in jar}
        async with browser.delete(session) as answer:
            assert answer.status == 204
        assert not people.judicator.access.sessions
    headers = {"Cookie": f"khala_session={kept['khala_session']}"}
    async with people.http.get(people.base + TASKS, headers=headers) as answer:
        assert answer.status == 401


async def test_who_has_no_secret_ends_no_session(people: People) -> None:
    session = people.base + "/api/v2/session"
    async with people.http.post(session, json={"token": people.tokens["ann"]}) as answer:
        assert answer.status == 204
    [(session_id, _)] = people.judicator.access.sessions.values()
    headers = {"Cookie": f"khala_session=kh_ses_{session_id}_{'0' * 64}"}
    async with people.http.delete(session, headers=headers) as answer:
        assert answer.status == 204
    assert people.judicator.access.sessions


# ---- what takes long --------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_stream_ends_with_the_token(
    people: People, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2_events, "EVENT_HEARTBEAT_S", 0.05)
    monkeypatch.setattr(callers, "LOOK_INTERVAL_S", 0.0)
    monkeypatch.setattr("roles.gateway.identities.IDENTITY_BELIEVED_S", 0.1)
    headers = {"Authorization": f"Bearer {people.tokens['vic']}", "Accept": accept}
    async with people.http.get(people.base + "/api/v2/events", headers=headers) as answer:
        await answer.content.readline()
        people.judicator.access.revoke("vic")
        async with asyncio.timeout(120):
            text = (await answer.content.read()).decode()
    last = text.strip().splitlines()[-1]
    assert "denied" in text
    assert json.loads(last.removeprefix("data: "))


async def test_a_long_poll_ends_with_the_token(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roles.gateway.identities.IDENTITY_BELIEVED_S", 0.05)
    task = people.task_of(ANN)
    asking = asyncio.ensure_future(people.ask("vic", "GET", f"{TASKS}/{task}?wait=0.5s"))
    async with asyncio.timeout(120):
        while not people.judicator.reads:
            await asyncio.sleep(0.01)
        people.judicator.access.revoke("vic")
        status, answer = await asking
    assert (status, answer["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream", "text/plain"])
async def test_a_followed_log_ends_with_the_token(
    people: People, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "EVENT_HEARTBEAT_S", 0.05)
    monkeypatch.setattr(callers, "LOOK_INTERVAL_S", 0.0)
    monkeypatch.setattr("roles.gateway.identities.IDENTITY_BELIEVED_S", 0.1)
    task = people.task_of(ANN)
    people.judicator.memory.tasks._state.tasks[task] = MemoryRow(  # type: ignore[index]
        task=people.judicator.tasks[task],  # type: ignore[index]
        key=None,
        fingerprint=b"",
        lease=None,
    )
    headers = {"Authorization": f"Bearer {people.tokens['vic']}", "Accept": accept}
    where = f"{people.base}{TASKS}/{task}/logs?follow=true"
    async with people.http.get(where, headers=headers) as answer:
        assert answer.status == 200
        people.judicator.access.revoke("vic")
        async with asyncio.timeout(120):
            if accept == "text/plain":
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.content.read()
                return
            text = (await answer.content.read()).decode()
    record = json.loads(text.strip().splitlines()[-1].removeprefix("data: "))
    assert (record["event"], record["why"]) == ("denied", "the token has expired, or was revoked")
