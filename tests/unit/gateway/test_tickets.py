"""What may stand in an address: a ticket, for one request that only reads, and no token."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import msgspec
import pytest

from khala.model.access import Role
from khala.model.tokens import TokenKind, mint
from roles.gateway import callers, v2_events
from roles.gateway.config import GatewayConfig
from tests.unit.gateway.conftest import TOKEN, Site, gateway_with, running
from tests.unit.gateway.people import DOCUMENT, TASKS, People

TICKETS = "/api/v2/tickets"
ME = "/api/v2/me"


async def make(people: People, who: str | None, base: str | None = None) -> str:
    headers = {"Authorization": f"Bearer {people.tokens[who]}"} if who else {}
    async with people.http.post((base or people.base) + TICKETS, headers=headers) as answer:
        assert answer.status == 201
        assert answer.headers["Cache-Control"] == "no-store"
        ticket = (await answer.json())["ticket"]
        assert ticket.startswith("kh_tkt_")
        return str(ticket)


async def who(people: People, ticket: str, base: str | None = None) -> str | int | None:
    """Whom it stands for, or the status of the refusal."""
    async with people.http.get(f"{base or people.base}{ME}?ticket={ticket}") as answer:
        body = await answer.json(content_type=None)
        return body["name"] if answer.status == 200 else answer.status


async def test_a_ticket_is_its_maker_once(people: People) -> None:
    ticket = await make(people, "vic")
    status, me = await people.ask(None, "GET", f"{ME}?ticket={ticket}")
    assert (status, me["name"], me["role"], me["known_by"]) == (200, "vic", "viewer", "token")
    status, problem = await people.ask(None, "GET", f"{ME}?ticket={ticket}")
    assert (status, problem["code"]) == (401, "unauthenticated")
    assert "it was used or has expired" in problem["detail"]
    assert not people.judicator.access.audit


async def test_a_head_uses_it_too(people: People) -> None:
    ticket = await make(people, "vic")
    async with people.http.head(f"{people.base}{ME}?ticket={ticket}") as answer:
        assert answer.status == 200
    assert await who(people, ticket) == 401


async def test_it_changes_nothing(people: People) -> None:
    ticket = await make(people, "adam")
    for method, path in (("POST", TASKS), ("DELETE", "/api/v2/users/vic"), ("POST", TICKETS)):
        for name in (None, "adam"):
            address = f"{path}?ticket={ticket}"
            status, problem = await people.ask(name, method, address, json=DOCUMENT)
            assert (status, problem["field"]) == (400, "ticket")
            assert f"good for GET and HEAD, not for {method}" in problem["detail"]
    assert await who(people, ticket) == "adam"


async def test_it_decides_alone(people: People) -> None:
    ticket = await make(people, "vic")
    status, me = await people.ask("adam", "GET", f"{ME}?ticket={ticket}")
    assert (status, me["name"]) == (200, "vic")
    assert (await people.ask("adam", "GET", f"{ME}?ticket={ticket}"))[0] == 401


async def test_it_is_worth_what_its_maker_is_when_it_is_used(people: People) -> None:
    access = people.judicator.access
    changed, revoked = await make(people, "olga"), await make(people, "ann")
    access.users["olga"] = msgspec.structs.replace(access.users["olga"], role=Role.VIEWER)
    status, me = await people.ask(None, "GET", f"{ME}?ticket={changed}")
    assert (status, me["role"]) == (200, "viewer")
    # The gateway still believes in the token.
    access.revoke("ann")
    assert (await people.ask("ann", "GET", ME))[0] == 200
    status, problem = await people.ask(None, "GET", f"{ME}?ticket={revoked}")
    assert (status, problem["code"]) == (401, "unauthenticated")
    assert "has expired, or was revoked" in problem["detail"]


async def test_a_session_makes_one_too(people: People) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        login = {"token": people.tokens["ann"]}
        async with browser.post(f"{people.base}/api/v2/session", json=login) as answer:
            assert answer.status == 204
        tickets = []
        for _ in range(2):
            async with browser.post(people.base + TICKETS) as answer:
                tickets.append((await answer.json())["ticket"])
        status, me = await people.ask(None, "GET", f"{ME}?ticket={tickets[0]}")
        assert (status, me["name"], me["known_by"]) == (200, "ann", "session")
        async with browser.delete(f"{people.base}/api/v2/session") as answer:
            assert answer.status == 204
    assert await who(people, tickets[1]) == 401


@pytest.mark.parametrize(
    "text",
    [
        "",
        "something",
        mint(TokenKind.TICKET).text,
        mint(TokenKind.PERSONAL).text,
        mint(TokenKind.SESSION).text,
    ],
)
async def test_what_is_no_ticket_is_refused(people: People, text: str) -> None:
    assert await who(people, text) == 401


async def test_a_token_is_no_ticket(people: People) -> None:
    assert await who(people, people.tokens["vic"]) == 401
    # Nor the other way round.
    ticket = await make(people, "vic")
    people.tokens["ticket"] = ticket
    assert (await people.ask("ticket", "GET", ME))[0] == 401
    assert await who(people, ticket) == "vic"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", TASKS), ("POST", TASKS), ("GET", ME), ("POST", TICKETS), ("POST", "/api/v2/session")],
)
async def test_no_token_is_taken_out_of_an_address(people: People, method: str, path: str) -> None:
    for name in (None, "adam"):
        address = f"{path}?token={people.tokens['adam']}"
        status, problem = await people.ask(name, method, address)
        assert (status, problem["code"], problem["field"]) == (400, "invalid_request", "token")
        assert "Authorization: Bearer <token>" in problem["detail"]
        assert "?ticket=<ticket>, of POST /api/v2/tickets" in problem["detail"]


async def test_kv2s_clients_and_monitors_still_show_one(people: People) -> None:
    for path in ("/api/task/list", "/metrics"):
        for token, status in ((people.tokens["vic"], 200), (await make(people, "vic"), 401)):
            async with people.http.get(f"{people.base}{path}?token={token}") as answer:
                assert answer.status == status
        async with people.http.get(f"{people.base}{path}?ticket={token}") as answer:
            assert answer.status == 401


async def test_a_link_does_not_repeat_it(people: People) -> None:
    for _ in range(3):
        people.task_of(7)
    first, second = await make(people, "vic"), await make(people, "vic")
    url = f"{people.base}{TASKS}?limit=2&user=7"
    async with people.http.get(f"{url}&ticket={first}") as answer:
        link = str(answer.links["next"]["url"])
        assert "ticket" not in link
    async with people.http.get(f"{link}&ticket={second}") as answer:
        assert answer.status == 200
        assert len((await answer.json())["items"]) == 1


# ---- who has no token of the cluster's --------------------------------------------------------


async def test_one_of_the_gateways_own_token_needs_that_token(
    config: GatewayConfig, site: Site, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for file, token in ((one, TOKEN), (other, TOKEN[::-1])):
        file.write_text(token)
        file.chmod(0o600)
    with_one, with_other = (
        msgspec.structs.replace(config, token_file=each) for each in (one, other)
    )
    async with (
        gateway_with(with_one, site) as people,
        running(with_one) as same,
        running(with_other) as another,
        running(config) as none,
    ):
        people.tokens["file"] = TOKEN
        ticket = await make(people, "file")
        for base in (another, none):
            assert await who(people, ticket, base) == 401
        async with people.http.get(f"{same}{ME}?ticket={ticket}") as answer:
            me = await answer.json()
        assert (me["name"], me["role"], me["known_by"]) == (None, "admin", "token_file")
        # A user's is good at all of them.
        for base in (people.base, same, another, none):
            assert await who(people, await make(people, "ann"), base) == "ann"
        late = await make(people, "file")
        one.write_text("another-token-that-is-long-enough")
        assert await who(people, late) == 401


async def test_one_of_nobody_is_good_where_nobody_is_asked(
    config: GatewayConfig, site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    locked = msgspec.structs.replace(config, token_file=file)
    async with running(config) as base, running(locked) as elsewhere:
        people = People(site.http, base, site.judicator)
        site.judicator.access.clear()
        tickets = [await make(people, None) for _ in range(3)]
        assert await who(people, tickets[0], elsewhere) == 401
        assert await who(people, tickets[1]) is None
        assert await who(people, tickets[1]) == 401
        site.judicator.access.make("ann", Role.ADMIN, 7)
    async with running(config) as base:  # and believes nothing from before
        assert await who(people, tickets[2], base) == 401


# ---- what takes long, and what is older -------------------------------------------------------


async def test_a_stream_ends_with_what_its_ticket_was_made_with(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2_events, "EVENT_HEARTBEAT_S", 0.05)
    monkeypatch.setattr(callers, "LOOK_INTERVAL_S", 0.0)
    monkeypatch.setattr("roles.gateway.identities.IDENTITY_BELIEVED_S", 0.1)
    address = f"{people.base}/api/v2/events?ticket={await make(people, 'vic')}"
    async with people.http.get(address) as answer:
        assert answer.content_type == "text/event-stream"
        await answer.content.readline()
        people.judicator.access.revoke("vic")
        async with asyncio.timeout(120):
            text = (await answer.content.read()).decode()
    last = json.loads(text.strip().splitlines()[-1].removeprefix("data: "))
    assert last["why"] == "the token has expired, or was revoked"


async def test_older_judicators_know_none(people: People) -> None:
    ticket = await make(people, "vic")
    assert (await people.ask("vic", "GET", ME))[0] == 200
    people.judicator.access.tickets.older = True
    status, problem = await people.ask("vic", "POST", TICKETS)
    assert (status, problem["code"]) == (409, "not_possible")
    assert "of a version without tickets" in problem["detail"]
    status, problem = await people.ask(None, "GET", f"{ME}?ticket={ticket}")
    assert (status, problem["code"]) == (503, "unavailable")
    assert "of a version without tickets" in problem["detail"]
