"""The executor process: opens the sandbox, connects, runs, and on SIGTERM hands back."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from functools import partial
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace

from khala.core.agent import Identity
from khala.model.enforcement import Enforcement
from khala.model.errors import Rejected
from khala.model.ids import BootId, ExecutorName, mint_nonce
from khala.model.wants import Amounts, Labels
from khala.net.address_book import FILE as JUDICATORS_FILE
from khala.net.address_book import AddressBook
from khala.net.client import JudicatorClient
from khala.net.credentials import Credentials
from khala.net.joining import keep_renewed
from khala.net.loop import run as run_loop
from khala.pki.node import EXECUTOR
from khala.protocol.doctor import Level, Line, Report
from khala.version import VERSION
from roles.examining import keep_examined
from roles.executor.cache import CompileCache
from roles.executor.cache_key import Surroundings, surroundings_of
from roles.executor.host import Executor
from roles.executor.link import Link
from roles.executor.parts import Parts
from roles.executor.reserve import Reserve
from roles.executor.runner import Runner
from sandbox import Sandbox, SandboxConfig, enter

log = structlog.get_logger()

_LOOK_S = 0.2


class ExecutorConfig(Struct, frozen=True, kw_only=True):
    """Everything the executor process is told."""

    name: ExecutorName
    slots: int
    #: What its tasks may take up together, and its labels.
    capacity: Amounts
    labels: Labels
    data_dir: Path
    #: host:port of judicators' RPC.
    judicators: tuple[str, ...]
    credentials: Credentials
    sandbox: SandboxConfig
    #: Bound of the cache of compile stages; 0 turns it off.
    compile_cache_bytes: int
    #: Bound of the blobs that are kept for further tasks.
    blob_cache_bytes: int
    #: How long a stop waits for running attempts before it gives them back.
    drain_s: float
    #: argv of an examination of this host.
    doctor: tuple[str, ...]


def run(config: ExecutorConfig) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    enter(config.sandbox)
    return run_loop(_main(config))


async def _main(config: ExecutorConfig) -> int:
    folder = config.data_dir / "executor"
    lock = _lock(folder)
    try:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if config.sandbox.full_network:
            await _check_network(config.credentials, stop)
        sandbox = await Sandbox.open(config.sandbox)
        for warning in sandbox.warnings:
            log.warning("sandbox.warned", what=warning)
        try:
            await _serve(config, folder, sandbox, stop)
        finally:
            await sandbox.close()
    finally:
        os.close(lock)
    return 0


def _lock(folder: Path) -> int:
    """Two executors on one journal could start one attempt twice."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Rejected(
            f"--data-dir: {folder} cannot be used: {error.strerror}", field="--data-dir"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Rejected(
            f"--data-dir: another executor is running in {folder}; stop it or give another"
            " directory",
            field="--data-dir",
        ) from None
    return lock


async def _check_network(credentials: Credentials, stop: asyncio.Event) -> None:
    """Raise Rejected if tasks with this host's network would have the databases of their own
    cluster before them. Its kind may be known only when the judicator of this host has begun."""
    while not (credentials.decided or stop.is_set()):
        await asyncio.sleep(_LOOK_S)
    if credentials.decided and credentials.identity is None:
        raise Rejected(
            "--allow-network: this cluster was made without --init, so its databases listen on this"
            " host's loopback and ask nobody who it is; tasks with the host's network could change"
            " every result. Make a cluster with --init, or leave --allow-network out",
            field="--allow-network",
        )


def _surroundings(config: SandboxConfig, enforcement: Enforcement) -> Surroundings:
    sizes = f"{config.box_bytes} {config.box_inodes} {config.tmp_bytes}"
    return surroundings_of(f"{enforcement}; {sizes}")


async def _report(
    name: ExecutorName, sandbox: Sandbox, client: JudicatorClient, report: Report
) -> None:
    """With a line on the sandbox: this process has it, the doctor must not try another one."""
    level = Level.WARNING if sandbox.warnings else Level.GOOD
    found = "; ".join([f"limited by {sandbox.enforcement.label}", *sandbox.warnings])
    line = Line(check="sandbox", roles=(EXECUTOR,), level=level, found=found, repair=None)
    whole = replace(report, lines=[*report.lines, line])
    await client.keep_examination(name, whole)


async def _serve(
    config: ExecutorConfig, folder: Path, sandbox: Sandbox, stop: asyncio.Event
) -> None:
    book = AddressBook(config.judicators, config.data_dir / JUDICATORS_FILE)
    client = JudicatorClient(book, config.credentials)
    link = Link(book, config.credentials)
    identity = Identity(
        name=config.name,
        boot=BootId(mint_nonce()),
        version=VERSION,
        enforcement=sandbox.enforcement.label,
        enforces=sandbox.enforcement,
        slots=config.slots,
        images=sandbox.images,
        networks=sandbox.networks,
        capacity=config.capacity,
        labels=config.labels,
    )
    cache = CompileCache(folder / "cache", config.compile_cache_bytes, Reserve(folder))
    cache.open()
    parts = Parts(client, folder / "blobs", config.blob_cache_bytes)
    parts.open()
    runner = Runner(sandbox, parts, cache, _surroundings(config.sandbox, sandbox.enforcement))
    executor = Executor(identity, folder, runner, link, client)
    try:
        log.info(
            "executor.started",
            slots=config.slots,
            enforcement=sandbox.enforcement.label,
            images=[image.name for image in sandbox.images],
        )
        report = partial(_report, config.name, sandbox, client)
        aside = [
            asyncio.ensure_future(keep_renewed(config.credentials, client)),
            asyncio.ensure_future(keep_examined(config.doctor, report)),
        ]
        serving = asyncio.ensure_future(executor.serve())
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done() and not serving.done():
            await executor.drain(config.drain_s)
        for each in (stopped, *aside, serving):
            each.cancel()
        await asyncio.gather(serving, return_exceptions=False)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        await client.close()
    log.info("executor.stopped")
