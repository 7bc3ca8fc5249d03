"""The replay itself: one attempt in a sandbox of this process, by the executor's own runner."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.errors import Rejected
from khala.model.outcome import Outcome
from khala.model.spec import Network
from khala.protocol.executor import Run
from roles.executor.attempt import Attempt
from roles.executor.cache import CompileCache
from roles.executor.cache_key import surroundings_of
from roles.executor.live import LiveAttempt
from roles.executor.reserve import Reserve
from roles.executor.runner import Runner
from roles.replay.pulling import Pulled
from roles.replay.showing import Shown
from sandbox import Sandbox, SandboxConfig


class Replayed(Struct, frozen=True, kw_only=True):
    """What came of it."""

    outcome: Outcome
    enforcement: Enforcement
    #: With the outputs, as an executor has them.
    folder: Path


async def run_here(
    config: SandboxConfig, pulled: Pulled, on_open: Callable[[], None], *, quiet: bool
) -> Replayed:
    """`on_open` is called when this process is root of its files, in whatever way. Raises Rejected
    for what this machine has not, SandboxLost, OSError."""
    sandbox = await Sandbox.open(config)
    try:
        _require(sandbox, pulled)
        on_open()
        outcome, folder = await _run(sandbox, pulled, quiet=quiet)
        return Replayed(outcome=outcome, enforcement=sandbox.enforcement, folder=folder)
    finally:
        await sandbox.close()


def _require(sandbox: Sandbox, pulled: Pulled) -> None:
    spec = pulled.spec
    images = [image.name for image in sandbox.images]
    if spec.image and spec.image not in images:
        raise Rejected(
            f"image: task {pulled.task.id} ran in {spec.image!r}, which this machine has not (it"
            f" has {', '.join(images) or 'none'}); give it with --image {spec.image}=DIRECTORY",
            field="--image",
        )
    if spec.network not in sandbox.networks:
        raise Rejected(
            f"network: task {pulled.task.id} had the network {Network.FULL.value}, its executor's"
            " own; to give it this machine's, loopback services included: --allow-network full",
            field="--allow-network",
        )


async def _run(sandbox: Sandbox, pulled: Pulled, *, quiet: bool) -> tuple[Outcome, Path]:
    folder = pulled.folder / "replayed"
    folder.mkdir()
    cache = CompileCache(pulled.folder / "cache", 0, Reserve(pulled.folder))
    cache.open()
    runner = Runner(sandbox, pulled, cache, surroundings_of(sandbox.enforcement.label))
    live = LiveAttempt(pulled.run, folder)
    attempt = Attempt(
        run=pulled.run,
        spec=pulled.spec,
        slot=0,
        folder=folder,
        on_progress=lambda *_: None,
        journal=_no_journal,
        live=live,
        cancel=asyncio.Event(),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, attempt.cancel.set)
    # Of cases, what they wrote is compared and not shown; so does `run`.
    shown = Shown(live, quiet=quiet or bool(pulled.spec.cases))
    showing = asyncio.ensure_future(shown.serve())
    try:
        outcome = await runner.run(attempt)
    finally:
        shown.end()
        await showing
    return outcome, folder


async def _no_journal(_: Run) -> None:
    """Nobody starts this attempt a second time."""
