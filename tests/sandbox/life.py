"""A process with a sandbox, to be killed: `python -m tests.sandbox.life CONFIG LOOP COMMAND`.

Prints one line of JSON per outcome; CONFIG is a SandboxConfig as JSON, LOOP asyncio or uvloop.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec
import uvloop

from khala.model.task import Stage
from sandbox import Job, Sandbox, SandboxConfig, enter
from tests.sandbox.harness import LIMITS


async def live(config: SandboxConfig, command: str) -> None:
    sandbox = await Sandbox.open(config)
    with tempfile.TemporaryDirectory() as folder:
        for stage in Stage:
            job = Job(
                command=command.encode(),
                stage=stage,
                limits=msgspec.structs.replace(LIMITS, wall_ms=100_000, output_bytes=1000),
                stdout=str(Path(folder, "out")),
                stderr=str(Path(folder, "err")),
            )
            async with sandbox.box(0) as box:
                outcome = await box.run(job, asyncio.Event())
            sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    await sandbox.close()


if __name__ == "__main__":
    settings = msgspec.json.decode(sys.argv[1], type=SandboxConfig)
    enter(settings)
    main = live(settings, sys.argv[3])
    if sys.argv[2] == "uvloop":
        uvloop.run(main)
    else:
        asyncio.run(main)
