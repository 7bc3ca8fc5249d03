"""Probes of a gateway, as its judicator comes and goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from khala.version import VERSION
from tests.unit.gateway.conftest import Site, config_of, running

PATIENCE_S = 60.0


async def ask(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as plain, plain.get(url) as response:
        return response.status, await response.text()


async def until(url: str, status: int) -> str:
    """The text of the first answer with that status."""
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await ask(url))[0] != status:
            await asyncio.sleep(0.1)
    return answer[1]


async def test_readiness(site: Site) -> None:
    assert (await ask(site.url("/livez")))[0] == 200
    try:
        assert (await until(site.url("/readyz"), 200)).startswith("ready\n")
        site.judicator.serving = False
        assert "no judicator accepts tasks" in await until(site.url("/readyz"), 503)
        # It has been ready: starting it again would not help.
        assert await ask(site.url("/startupz")) == (200, "started\n")
    finally:
        site.judicator.serving = True
    await until(site.url("/readyz"), 200)


async def test_warnings_are_no_failure(site: Site) -> None:
    """The double is the only judicator of its cluster, which is worth a word."""
    text = await until(site.url("/readyz"), 200)
    assert (
        text
        == "ready\nwarning: One judicator: the cluster does not survive the loss of its host.\n"
    )


async def test_nothing_has_started_without_a_judicator(secret_file: Path) -> None:
    async with running(config_of(secret_file, "127.0.0.1:1")) as lonely:
        assert (await ask(f"{lonely}/startupz"))[0] == 503
        assert (await ask(f"{lonely}/version")) == (200, f'{{"version":"{VERSION}"}}\n')
