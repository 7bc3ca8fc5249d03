"""Settings into an executor."""

from __future__ import annotations

import hashlib
from pathlib import Path

from khala.config.settings import Settings
from khala.model.ids import ExecutorName
from khala.model.spec import Network
from khala.pki.node import EXECUTOR
from khala.supervise import binaries
from roles.belonging import credentials_of, judicators_of
from roles.examining import examiner
from roles.executor import serve
from roles.executor.capacity import capacity_of, labels_of
from sandbox import SandboxConfig


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    executor = settings.executor
    return serve.run(
        serve.ExecutorConfig(
            name=ExecutorName(settings.name),
            slots=executor.slots,
            capacity=capacity_of(executor.resources, Path(settings.data_dir)),
            labels=labels_of(settings.name, executor.labels),
            data_dir=Path(settings.data_dir),
            judicators=judicators_of(settings, EXECUTOR),
            credentials=credentials_of(settings, EXECUTOR),
            drain_s=executor.drain,
            doctor=examiner(EXECUTOR, settings),
            compile_cache_bytes=executor.compile_cache,
            blob_cache_bytes=executor.blob_cache,
            sandbox=sandbox_config(settings),
        )
    )


def sandbox_config(settings: Settings) -> SandboxConfig:
    """How the executor's sandbox is set up. Raises Rejected if there is no nsjail."""
    executor = settings.executor
    return SandboxConfig(
        nsjail=str(binaries.find_program("nsjail", settings.nsjail.bin)),
        name=_sandbox_name(settings),
        slots=executor.slots,
        warm=min(executor.slots, executor.warm_jails),
        uid_base=executor.uid_base,
        exposed=executor.expose,
        allow_degraded=executor.allow_degraded,
        full_network=executor.allow_network == Network.FULL,
        images=executor.images,
    )


def _sandbox_name(settings: Settings) -> str:
    """Several executors may share a host, also under one name: their data directories differ.
    The same directory gives the same name, so a restart finds what an earlier life left."""
    digest = hashlib.sha256(settings.data_dir.encode()).hexdigest()
    return f"{settings.name}-{digest[:8]}"
