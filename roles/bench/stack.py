"""Processes to measure: this very program, on free ports, in a temporary directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from khala.model.errors import Unavailable
from khala.net.credentials import Credentials
from khala.net.ports import free_ports
from khala.net.secrets import SecretFile
from roles.command import run_module

#: The first start of a replica set takes a few seconds; a busy host some more.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    etcd_peer: int
    etcd_client: int
    mongodb: int
    rpc: int
    http: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    ports: Ports
    data_dir: Path

    @property
    def secret(self) -> str:
        return self._secret.read()

    @property
    def credentials(self) -> Credentials:
        return Credentials(self._secret)

    @property
    def _secret(self) -> SecretFile:
        return SecretFile(self.data_dir / "secret", flag="--secret-file")


@contextlib.asynccontextmanager
async def run_up(slots: int, *options: str) -> AsyncIterator[Stack]:
    """`up` with `slots`; yields when a task would be accepted, stops it at the end."""
    async with _started("up", ["--slots", str(slots), *options], ready="http://") as stack:
        yield stack


@contextlib.asynccontextmanager
async def run_judicator() -> AsyncIterator[Stack]:
    """A judicator alone; yields when it serves."""
    async with _started("judicator", [], ready=None) as stack:
        await _wait_port(stack.ports.rpc)
        yield stack


@contextlib.asynccontextmanager
async def _started(command: str, options: list[str], *, ready: str | None) -> AsyncIterator[Stack]:
    data_dir = Path(tempfile.mkdtemp(prefix="khala-bench-"))
    peer, client, mongodb, rpc, http = free_ports(5)
    ports = Ports(etcd_peer=peer, etcd_client=client, mongodb=mongodb, rpc=rpc, http=http)
    argv = [
        *(*run_module("khala"), command, "--data-dir", str(data_dir)),
        *("--etcd-peer-port", str(ports.etcd_peer)),
        *("--etcd-client-port", str(ports.etcd_client)),
        *("--mongodb-port", str(ports.mongodb)),
        *("--rpc-port", str(ports.rpc)),
        *(("--http-port", str(ports.http)) if command == "up" else ()),
        *options,
    ]
    log = data_dir.with_suffix(".log")
    with open(log, "wb") as stderr:
        process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=stderr)
    try:
        if ready is not None:
            await _wait_line(process, ready, log)
        yield Stack(ports=ports, data_dir=data_dir)
    finally:
        await _stop(process)
        shutil.rmtree(data_dir, ignore_errors=True)
        log.unlink(missing_ok=True)


async def _wait_line(process: Process, ready: str, log: Path) -> None:
    if process.stdout is None:
        raise Unavailable("the started process has no output")
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            async for line in process.stdout:
                if ready.encode() in line:
                    return
    except TimeoutError:
        pass
    tail = log.read_text(errors="replace")[-2000:]
    raise Unavailable(f"Khala did not start within {START_TIMEOUT_S:.0f} s; its log ends:\n{tail}")


async def _wait_port(port: int) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.1)


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
