"""Users, tokens, roles and the audit log by HTTP: who sees and changes which."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from khala.model.access_limits import ACCESS_TOKEN_LIFE_S
from khala.protocol.access import AuditEntry, AuditRow
from roles.gateway.config import GatewayConfig
from tests.unit.gateway.access_double import TAKEN_NUMBER
from tests.unit.gateway.conftest import Site, running
from tests.unit.gateway.people import TASKS, People

ME, USERS, TOKENS, AUDIT = (f"/api/v2/{name}" for name in ("me", "users", "tokens", "audit"))


async def test_everybody_learns_who_they_are(site: Site, people: People) -> None:
    _, me = await people.ask("ann", "GET", ME)
    token = me.pop("token")
    assert token in people.tokens["ann"]
    assert me.pop("expires_at") is not None
    assert me == {
        "name": "ann",
        "number": 7,
        "role": "submitter",
        "known_by": "token",
        "has_users": True,
    }
    people.judicator.access.clear()
    async with site.http.get(site.url(ME)) as answer:
        assert await answer.json() == {
            "name": None,
            "number": None,
            "role": "admin",
            "known_by": "open",
            "token": None,
            "expires_at": None,
            "has_users": False,
        }


async def test_roles_are_told_from_the_least_to_the_most(people: People) -> None:
    _, answer = await people.ask("vic", "GET", "/api/v2/roles")
    assert [each["name"] for each in answer["items"]] == [
        "viewer",
        "submitter",
        "operator",
        "admin",
    ]
    assert all(each["may"] for each in answer["items"])


async def test_the_first_user_is_made_at_an_open_gateway_and_closes_it(
    site: Site, config: GatewayConfig
) -> None:
    user: dict[str, object] = {"name": "root", "role": "admin"}
    async with running(config) as base:
        async with site.http.post(base + USERS, json=user) as answer:
            problem = await answer.json(content_type=None)
            assert (answer.status, problem["code"]) == (409, "not_possible")
        user["token"] = {"name": "laptop"}
        async with site.http.post(base + USERS, json=user) as answer:
            assert (answer.status, answer.headers["Location"]) == (201, f"{USERS}/root")
            made = await answer.json()
        async with site.http.get(base + TASKS) as answer:
            assert answer.status == 401
        headers = {"Authorization": f"Bearer {made['token']['secret']}"}
        async with site.http.get(base + TASKS, headers=headers) as answer:
            assert answer.status == 200


async def test_administrators_make_change_and_remove_users(people: People) -> None:
    user = {"name": "zoe", "role": "viewer", "number": 42, "token": {"name": "t"}}
    status, made = await people.ask("adam", "POST", USERS, json=user)
    assert (status, made["user"]["number"]) == (201, 42)
    people.tokens["zoe"] = made["token"]["secret"]
    status, answer = await people.ask("adam", "POST", USERS, json=user)
    assert (status, answer["code"]) == (409, "already_there")
    assert (await people.ask("zoe", "GET", ME))[1]["role"] == "viewer"
    one = f"{USERS}/zoe"
    _, answer = await people.ask("adam", "PATCH", one, json={"role": "operator"})
    assert (answer["role"], answer["disabled"]) == ("operator", False)
    _, answer = await people.ask("adam", "PATCH", one, json={"disabled": True})
    assert (answer["role"], answer["disabled"]) == ("operator", True)
    _, answer = await people.ask("adam", "GET", USERS)
    assert [each["name"] for each in answer["items"]] == sorted(people.judicator.access.users)
    assert (await people.ask("adam", "DELETE", one))[0] == 204
    assert (await people.ask("zoe", "GET", ME))[0] == 401
    for method in ("GET", "PATCH", "DELETE"):
        for name in ("zoe", "No%20such%2Fname"):
            body = {"role": "viewer"} if method == "PATCH" else None
            status, _ = await people.ask("adam", method, f"{USERS}/{name}", json=body)
            assert status == 404


async def test_what_a_judicator_does_not_take_is_told_by_its_field(people: People) -> None:
    user = {"name": "zoe", "role": "viewer", "number": TAKEN_NUMBER}
    status, answer = await people.ask("adam", "POST", USERS, json=user)
    assert (status, answer["errors"][0]["pointer"]) == (422, "/number")


async def test_the_last_administrator_stays_one(people: People) -> None:
    one = f"{USERS}/adam"
    for method, body in (("PATCH", {"role": "viewer"}), ("DELETE", None)):
        status, answer = await people.ask("adam", method, one, json=body)
        assert (status, answer["code"]) == (409, "last_admin")


@pytest.mark.parametrize("who", ["vic", "ann", "olga"])
async def test_nobody_else_sees_or_changes_users_but_oneself(people: People, who: str) -> None:
    for method, path in [
        ("GET", USERS),
        ("POST", USERS),
        ("GET", f"{USERS}/adam"),
        ("PATCH", f"{USERS}/{who}"),
        ("DELETE", f"{USERS}/{who}"),
        ("GET", AUDIT),
        ("GET", f"{TOKENS}?user=adam"),
    ]:
        body: object = {} if method in ("POST", "PATCH") else None
        status, answer = await people.ask(who, method, path, json=body)
        assert (status, answer["code"]) == (403, "forbidden")
    status, answer = await people.ask(who, "GET", f"{USERS}/{who}")
    assert (status, answer["name"]) == (200, who)


async def test_everybody_has_tokens_of_their_own(people: People) -> None:
    status, made = await people.ask("ann", "POST", TOKENS, json={"name": "ci", "role": "viewer"})
    assert (status, made["user"], made["role"]) == (201, "ann", "viewer")
    people.tokens["ci"] = made["secret"]
    assert (await people.ask("ci", "GET", ME))[1]["role"] == "viewer"
    status, listed = await people.ask("ci", "GET", TOKENS)
    assert [each["name"] for each in listed["items"]] == ["ci", "test"]
    assert "secret" not in listed["items"][0]
    life = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert ACCESS_TOKEN_LIFE_S - 300 < life.total_seconds() <= ACCESS_TOKEN_LIFE_S
    assert (await people.ask("ben", "DELETE", f"{TOKENS}/{made['id']}"))[0] == 404
    assert (await people.ask("ann", "DELETE", f"{TOKENS}/{made['id']}"))[0] == 204
    assert (await people.ask("ci", "GET", ME))[0] == 401
    assert (await people.ask("ann", "DELETE", f"{TOKENS}/nothing"))[0] == 404


async def test_a_token_begets_none_that_allows_more(people: People) -> None:
    _, made = await people.ask("adam", "POST", TOKENS, json={"name": "ro", "role": "viewer"})
    people.tokens["ro"] = made["secret"]
    for role, status in (("admin", 403), ("submitter", 403), ("viewer", 201)):
        got, _ = await people.ask("ro", "POST", TOKENS, json={"name": "x", "role": role})
        assert got == status
    # Without a role it is that of the token which is shown, not of its user.
    _, made = await people.ask("ro", "POST", TOKENS, json={"name": "y"})
    assert made["role"] == "viewer"
    own = next(each for each in people.judicator.access.tokens.values() if each.role == "admin")
    status, answer = await people.ask("ro", "DELETE", f"{TOKENS}/{own.id}")
    assert (status, answer["code"]) == (403, "forbidden")
    assert (await people.ask("ro", "DELETE", f"{TOKENS}/{made['id']}"))[0] == 204


async def test_administrators_have_anybodys_tokens(people: People) -> None:
    asked = {"name": "robot", "user": "ann", "expires_in": "2h"}
    status, made = await people.ask("adam", "POST", TOKENS, json=asked)
    assert (status, made["user"], made["role"]) == (201, "ann", "submitter")
    status, answer = await people.ask("olga", "POST", TOKENS, json=asked)
    assert (status, answer["code"]) == (403, "forbidden")
    status, _ = await people.ask("adam", "POST", TOKENS, json={**asked, "user": "nobody"})
    assert status == 404
    _, listed = await people.ask("adam", "GET", f"{TOKENS}?user=ann")
    assert made["id"] in [each["id"] for each in listed["items"]]
    assert (await people.ask("adam", "DELETE", f"{TOKENS}/{made['id']}"))[0] == 204


@pytest.mark.parametrize("expires_in", [59, "1s", 367 * 86_400, "367d", "soon", -1])
async def test_a_token_lasts_a_minute_to_a_year(people: People, expires_in: object) -> None:
    asked = {"name": "x", "expires_in": expires_in}
    status, answer = await people.ask("ann", "POST", TOKENS, json=asked)
    assert (status, answer["errors"][0]["pointer"]) == (422, "/expires_in")


async def test_who_has_no_name_says_whose(site: Site) -> None:
    async with site.http.get(site.url(TOKENS)) as answer:
        assert (answer.status, (await answer.json(content_type=None))["field"]) == (400, "user")
    async with site.http.post(site.url(TOKENS), json={"name": "x"}) as answer:
        problem = await answer.json(content_type=None)
        assert (answer.status, problem["errors"][0]["pointer"]) == (422, "/user")


async def test_the_audit_log_by_pages_and_as_lines(people: People) -> None:
    rows = people.judicator.access.audit
    for number in range(1200):
        entry = AuditEntry(
            act="node.drain" if number % 2 else "user.create",
            target=f"t{number}",
            user="ann" if number % 3 else None,
            known_by="token",
        )
        at = datetime(2026, 11, 24, 0, number // 60, number % 60, tzinfo=UTC)
        rows.append(AuditRow(id=f"{number:024x}", at=at, entry=entry, status=200))
    _, page = await people.ask("adam", "GET", f"{AUDIT}?limit=2")
    assert [each["target"] for each in page["items"]] == ["t1199", "t1198"]
    assert page["items"][0]["at"] == "2026-11-24T00:19:59.000Z"
    _, page = await people.ask("adam", "GET", f"{AUDIT}?limit=2&cursor={page['next_cursor']}")
    assert [each["target"] for each in page["items"]] == ["t1197", "t1196"]
    where = f"{AUDIT}?user=ann&act=node.drain&until=2026-11-24T00:00:07Z"
    _, page = await people.ask("adam", "GET", where)
    assert [each["target"] for each in page["items"]] == ["t7", "t5", "t1"]
    assert page["next_cursor"] is None
    headers = {
        "Authorization": f"Bearer {people.tokens['adam']}",
        "Accept": "application/x-ndjson",
    }
    async with people.http.get(people.base + AUDIT, headers=headers) as answer:
        lines = (await answer.read()).splitlines()
    assert [json.loads(line)["target"] for line in lines] == [f"t{n}" for n in range(1199, -1, -1)]
    for wrong in ("limit=0", "limit=501", "act=no%20word", "since=yesterday", "cursor=%20"):
        assert (await people.ask("adam", "GET", f"{AUDIT}?{wrong}"))[0] == 400
