"""What a compile stage may depend on, as one key: two stages of one key are the same stage.

Left out on purpose is what differs between tasks that share a compilation: the task's id and
attempt (in the environment), the time, the execute stage and its input. See `roles.executor.cache`.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.model.spec import Network, Part, Stage, StageLimits, TaskSpec
from khala.version import VERSION

#: Parts that are in the work directory when the compile stage runs, and may matter to it.
_PARTS = (Part.COMPILE_SOURCE, Part.COMPILE_COMMAND, Part.EXECUTE_DATA)


class Surroundings(Struct, frozen=True, kw_only=True):
    """What an executor's stages have in common."""

    version: str
    #: How stages are confined, and the sizes they cannot choose: a limit met is an outcome.
    sandbox: str
    #: `-march=native` makes other programs on another processor.
    machine: str


class _Key(Struct, frozen=True, kw_only=True):
    surroundings: Surroundings
    toolchain: str
    image: str
    network: Network
    #: Digest and size of each part; None for one that is missing.
    parts: dict[str, tuple[str, int] | None]
    environment: list[tuple[str, str]]
    limits: StageLimits
    #: The work directory is as large as the larger stage asks.
    disk: tuple[int, int]


def surroundings_of(sandbox: str) -> Surroundings:
    return Surroundings(version=VERSION, sandbox=sandbox, machine=_machine())


def key_of(spec: TaskSpec, toolchain: str, surroundings: Surroundings) -> str:
    """A name for a file. `toolchain` tells the programs apart that the stage can run."""
    stages = (spec.compile_limits, spec.execute_limits)
    key = _Key(
        surroundings=surroundings,
        toolchain=toolchain,
        image=spec.image,
        network=spec.network,
        parts={part: _digest(spec, part) for part in _PARTS},
        environment=sorted(spec.environment_of(Stage.COMPILE).items()),
        limits=spec.compile_limits,
        disk=(
            max(limits.disk_bytes for limits in stages),
            max(limits.disk_files for limits in stages),
        ),
    )
    return hashlib.sha256(msgspec.json.encode(key)).hexdigest()


def _digest(spec: TaskSpec, part: Part) -> tuple[str, int] | None:
    ref = spec.parts.get(part)
    return None if ref is None else (ref.sha256, ref.size_bytes)


def _machine() -> str:
    """Architecture, kernel release and what the processor can do."""
    facts = {f"{platform.machine()} {platform.release()}"}
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features", "model name"}:
            facts.add(value.strip())
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()
