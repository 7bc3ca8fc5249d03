"""One judicator double and two gateways (open, and with a token) for the whole ring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from khala.model.errors import KhalaError
from khala.model.spec import StageLimits
from khala.net.credentials import Credentials
from khala.net.secrets import SecretFile
from roles.gateway.app import Gateway
from roles.gateway.config import GatewayConfig, StageDefaults
from roles.gateway.static import StaticSite
from tests.contract import Contract
from tests.unit.gateway.double import JudicatorDouble
from tests.unit.gateway.people import People

MIB = 1024 * 1024
MAX_BODY: int = 2 * MIB
TOKEN = "a-token-that-is-long-enough"

DEFAULTS = StageDefaults(
    memory_bytes=512 * MIB,
    pids=128,
    output_bytes=64 * MIB,
    file_bytes=256 * MIB,
    cpus=1.0,
    disk_bytes=256 * MIB,
    disk_files=16384,
)
MAXIMA = StageLimits(
    wall_ms=86_400_000,
    cpu_ms=4 * 86_400_000,
    memory_bytes=2048 * MIB,
    pids=1024,
    output_bytes=128 * MIB,
    file_bytes=1024 * MIB,
    cpus=4.0,
    disk_bytes=1024 * MIB,
    disk_files=65536,
)


@dataclass(frozen=True, slots=True)
class Site:
    """A running gateway, a client of it, and the judicator behind it."""

    base: str
    http: aiohttp.ClientSession
    judicator: JudicatorDouble
    #: Every answer that `http` gets is checked against it.
    contract: Contract

    def url(self, path: str) -> str:
        return self.base + path


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_text("s" * 32)
    path.chmod(0o600)
    return path


def config_of(secret_file: Path, *judicators: str) -> GatewayConfig:
    return GatewayConfig(
        bind="127.0.0.1",
        port=0,
        host_names=("gateway.example",),
        judicators=judicators,
        judicators_file=secret_file.with_name("judicators.json"),
        credentials=Credentials(SecretFile(secret_file, flag="--secret-file")),
        token_file=None,
        max_body_bytes=MAX_BODY,
        max_blob_bytes=2 * MAX_BODY,
        compile=DEFAULTS,
        execute=DEFAULTS,
        maxima=MAXIMA,
    )


def checking(contract: Contract) -> aiohttp.TraceConfig:
    """Lets a request fail if its answer is not as the gateway's own document says."""

    async def check(
        _: aiohttp.ClientSession, context: object, end: aiohttp.TraceRequestEndParams
    ) -> None:
        response = end.response
        streamed = end.url.path == "/api/v2/events" or "follow" in end.url.query
        body = b"" if streamed else await response.read()
        contract.check(end.method, str(end.url), response.status, response.content_type, body)

    config = aiohttp.TraceConfig()
    config.on_request_end.append(check)
    return config


@asynccontextmanager
async def running(config: GatewayConfig) -> AsyncIterator[str]:
    """The address of a gateway that runs in the block."""
    gateway = Gateway(config, StaticSite(None))
    try:
        await gateway.listen()
        following = asyncio.ensure_future(gateway.follow())
        yield f"http://127.0.0.1:{gateway.port}"
        following.cancel()
    finally:
        await gateway.close()


@pytest_asyncio.fixture(scope="session")
async def session_judicator(secret_file: Path) -> AsyncIterator[JudicatorDouble]:
    judicator = JudicatorDouble(secret_file)
    await judicator.start()
    yield judicator
    await judicator.stop()


@pytest_asyncio.fixture(scope="session")
async def session_site(
    secret_file: Path, session_judicator: JudicatorDouble
) -> AsyncIterator[Site]:
    patience = pytest.MonkeyPatch()
    # On a busy machine nobody says in two seconds what is asked for here.
    patience.setattr("roles.gateway.cluster.ASK_S", 30.0)
    async with running(config_of(secret_file, session_judicator.address)) as base:
        async with (
            aiohttp.ClientSession() as plain,
            plain.get(f"{base}/api/v2/openapi.json") as response,
        ):
            contract = Contract(await response.json())
        async with aiohttp.ClientSession(trace_configs=[checking(contract)]) as http:
            yield Site(base=base, http=http, judicator=session_judicator, contract=contract)
    patience.undo()


@pytest.fixture
def site(session_site: Site) -> Site:
    """The site with a judicator that knows nothing and refuses nothing."""
    judicator = session_site.judicator
    judicator.tasks.clear()
    judicator.submitted.clear()
    judicator.searched.clear()
    judicator.ranges.clear()
    judicator.access.clear()
    judicator.broken = None
    judicator.swallow = 0
    judicator.serving = True
    return session_site


async def break_with(site: Site, error: KhalaError) -> None:
    """From now on the judicator fails with it; who asks is known from before."""
    async with site.http.get(site.url("/api/v2/roles")) as response:
        assert response.status == 200
    site.judicator.broken = error


@asynccontextmanager
async def gateway_with(config: GatewayConfig, site: Site) -> AsyncIterator[People]:
    """Users, and the address of a gateway that has just heard of them."""
    async with running(config) as base:
        yield People(site.http, base, site.judicator)


@pytest.fixture
def config(site: Site, secret_file: Path) -> GatewayConfig:
    return config_of(secret_file, site.judicator.address)


@pytest_asyncio.fixture
async def people(config: GatewayConfig, site: Site) -> AsyncIterator[People]:
    async with gateway_with(config, site) as people:
        yield people
