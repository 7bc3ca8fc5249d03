"""Requests beyond what one caller may send: whose they are, how they are refused, for how long."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from khala.client import AsyncKhala, RateLimited
from khala.model.access import Role
from khala.model.tokens import TokenKind, mint
from roles.gateway.config import GatewayConfig, RequestRate
from tests.unit.gateway.conftest import TOKEN, Site, gateway_with, running
from tests.unit.gateway.people import ANN, TASKS, People

#: Nobody gets a request back while a test runs.
SLOW = RequestRate(per_second=0.01, burst=3)
ME = "/api/v2/me"
LARGE = b"x" * (1 << 20)


@pytest.fixture
def slow(config: GatewayConfig) -> GatewayConfig:
    return msgspec.structs.replace(config, request_rate=SLOW)


@pytest.fixture
def quick(config: GatewayConfig) -> GatewayConfig:
    """One at a time, and another one every second."""
    rate = RequestRate(per_second=1, burst=1)
    return msgspec.structs.replace(config, request_rate=rate)


async def until_limited(people: People, who: str | None) -> dict[str, Any]:
    """The refusal, after everything that there was room for."""
    for _ in range(SLOW.burst):
        assert (await people.ask(who, "GET", ME))[0] == (200 if who else 401)
    status, problem = await people.ask(who, "GET", ME)
    assert (status, problem["code"]) == (429, "rate_limited")
    return problem


@pytest.mark.parametrize(
    ("per_second", "burst", "policy"),
    [(50, 100, "q=100;w=2"), (1000, 100, "q=1000;w=1"), (3, 10, "q=10;w=4"), (0.5, 1, "q=1;w=2")],
)
async def test_the_policy_promises_no_more_than_there_is(
    config: GatewayConfig, site: Site, per_second: float, burst: int, policy: str
) -> None:
    rate = RequestRate(per_second=per_second, burst=burst)
    async with (
        running(msgspec.structs.replace(config, request_rate=rate)) as base,
        site.http.get(base + ME) as answer,
    ):
        assert answer.headers["RateLimit-Policy"] == f'"default";{policy}'


async def test_what_a_user_may_send(slow: GatewayConfig, site: Site) -> None:
    async with gateway_with(slow, site) as people:
        headers = {"Authorization": f"Bearer {people.tokens['ann']}"}
        seen = []
        for _ in range(SLOW.burst + 1):
            async with people.http.get(people.base + ME, headers=headers) as answer:
                assert answer.headers["RateLimit-Policy"] == '"default";q=3;w=300'
                seen.append((answer.status, answer.headers["RateLimit"].partition(";t=")[0]))
        assert seen == [(200, f'"default";r={left}') for left in (2, 1, 0)] + [
            (429, '"default";r=0')
        ]
        wait = int(answer.headers["Retry-After"])
        assert 90 <= wait <= 100
        assert answer.headers["RateLimit"].endswith(f";t={wait}")
        problem = await answer.json(content_type=None)
        assert problem["type"] == "/docs/problems#rate_limited"
        for said in (
            "of ann to this gateway are limited to 0.01 a second",
            "3 at once",
            f"in {wait} s",
        ):
            assert said in problem["detail"]
        assert "--requests-per-second" in problem["detail"]
        # Another user has a bucket of its own, another token of the same user has not.
        assert (await people.ask("ben", "GET", ME))[0] == 200
        people.tokens["ann, again"] = people.judicator.access.make("ann", Role.SUBMITTER, ANN)
        assert (await people.ask("ann, again", "GET", ME))[0] == 429


async def test_it_goes_on_after_the_wait(quick: GatewayConfig, site: Site) -> None:
    async with gateway_with(quick, site) as people:
        answers = await asyncio.gather(*(people.ask("ann", "GET", ME) for _ in range(10)))
        assert {status for status, _ in answers} == {200, 429}
        await asyncio.sleep(1.0)
        assert (await people.ask("ann", "GET", ME))[0] == 200


async def test_nothing_is_done_by_what_is_refused(slow: GatewayConfig, site: Site) -> None:
    async with gateway_with(slow, site) as people:
        await until_limited(people, "ann")
        # Larger than what is read of a body that nobody wants: its sender still gets the answer.
        status, problem = await people.ask("ann", "POST", TASKS, data=io.BytesIO(LARGE))
        assert (status, problem["code"]) == (429, "rate_limited")
        assert people.judicator.submitted == []


async def test_probes_pages_and_metrics_do_not_count(slow: GatewayConfig, site: Site) -> None:
    async with gateway_with(slow, site) as people:
        await until_limited(people, "olga")
        await until_limited(people, None)
        headers = {"Authorization": f"Bearer {people.tokens['olga']}"}
        for path in ("/livez", "/readyz", "/startupz", "/leader", "/version", "/", "/docs"):
            async with people.http.get(people.base + path) as answer:
                assert answer.status == 200
                assert "RateLimit" not in answer.headers
        async with people.http.get(people.base + "/metrics", headers=headers) as answer:
            text = await answer.text()
        assert 'khala_rate_limited_total{caller="known"} 1.0' in text
        assert 'khala_rate_limited_total{caller="unknown"} 1.0' in text
        assert (await people.ask(None, "GET", "/metrics"))[0] == 429


async def test_guesses_of_one_address_are_limited_together(slow: GatewayConfig, site: Site) -> None:
    async with gateway_with(slow, site) as people:
        assert (await people.ask("vic", "GET", ME))[0] == 200
        for guess in range(SLOW.burst + 1):
            people.tokens["guess"] = mint(TokenKind.PERSONAL).text
            status, problem = await people.ask("guess", "GET", ME)
            assert status == (401 if guess < SLOW.burst else 429)
        assert "of those who are not known, at 127.0.0.1, to this gateway" in problem["detail"]
        # They are not looked up any more, so not even a right one is found; nor by signing in.
        assert (await people.ask("ben", "GET", ME))[0] == 429
        body = {"token": people.tokens["ben"]}
        assert (await people.ask(None, "POST", "/api/v2/session", json=body))[0] == 429
        assert people.tokens["ben"].split("_")[2] not in people.judicator.access.asked
        # Who was known before goes on.
        assert (await people.ask("vic", "GET", ME))[0] == 200


async def test_the_gateways_own_token_and_nobody_have_one_each(
    slow: GatewayConfig, site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    async with gateway_with(msgspec.structs.replace(slow, token_file=file), site) as people:
        people.tokens["file"] = TOKEN
        await until_limited(people, None)
        problem = await until_limited(people, "file")
        assert "requests of the holder of the gateway's token to" in problem["detail"]


async def test_an_open_gateway_has_one_for_everybody(slow: GatewayConfig, site: Site) -> None:
    async with running(slow) as base:
        for status in (200, 200, 200, 429):
            async with site.http.get(base + ME) as answer:
                assert answer.status == status


async def test_kv2s_clients_are_told_in_their_own_way(slow: GatewayConfig, site: Site) -> None:
    async with gateway_with(slow, site) as people:
        await until_limited(people, "ann")
        headers = {"Authorization": f"Bearer {people.tokens['ann']}"}
        for method, path, empty in (
            ("GET", "/api/task/list", {"pages": 0, "tasks": []}),
            ("GET", "/api/judicators", {"judicators": []}),
            ("POST", "/api/task", {"id": None}),
        ):
            body = io.BytesIO(LARGE) if method == "POST" else None
            async with people.http.request(
                method, people.base + path, headers=headers, data=body
            ) as answer:
                assert answer.status == 429
                assert await answer.json() == {**empty, "result": 1}
                assert int(answer.headers["Retry-After"]) > 1
                assert "requests of ann" in answer.headers["Khala-Detail"]
                assert "r=0" in answer.headers["RateLimit"]
        # Who is not known is told so as everywhere.
        await until_limited(people, None)
        status, problem = await people.ask(None, "GET", "/api/task/list")
        assert (status, problem["code"]) == (429, "rate_limited")


async def test_without_a_limit_there_are_no_headers(people: People) -> None:
    headers = {"Authorization": f"Bearer {people.tokens['ann']}"}
    async with people.http.get(people.base + ME, headers=headers) as answer:
        assert not {name for name in answer.headers if name.startswith("RateLimit")}


async def test_the_limit_is_among_the_settings(slow: GatewayConfig, site: Site) -> None:
    for config, told in ((slow, (0.01, 3)), (msgspec.structs.replace(slow, request_rate=None), ())):
        async with running(config) as base, AsyncKhala(base) as khala:
            gateway = (await khala.cluster_config()).gateway
        assert (gateway.requests_per_second, gateway.request_burst) == (told or (None, None))


async def test_the_client_waits_and_goes_on(quick: GatewayConfig, site: Site) -> None:
    async with gateway_with(quick, site) as people:
        token, task = people.tokens["ann"], people.task_of(ANN)
        async with AsyncKhala(people.base, token=token, patience_s=30) as khala:
            for _ in range(3):
                assert (await khala.get(task)).id == task
        async with AsyncKhala(people.base, token=token, patience_s=0.5) as khala:
            many = (khala.get(task) for _ in range(10))
            refused = [
                each
                for each in await asyncio.gather(*many, return_exceptions=True)
                if isinstance(each, RateLimited)
            ]
        assert refused
        assert refused[0].message.startswith("requests of ann to this gateway")
        assert refused[0].retry_after_s == 1


async def test_a_stream_counts_once(slow: GatewayConfig, site: Site) -> None:
    async with gateway_with(slow, site) as people:
        headers = {"Authorization": f"Bearer {people.tokens['vic']}"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(people.base + "/api/v2/events", headers=headers) as stream,
        ):
            assert stream.headers["RateLimit"].startswith('"default";r=2;')
            await stream.content.readany()
            async with http.get(people.base + ME, headers=headers) as answer:
                assert answer.headers["RateLimit"].startswith('"default";r=1;')
