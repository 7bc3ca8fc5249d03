"""A process with a sandbox, to be killed: `python -m tests.sandbox.life CONFIG LOOP COMMAND`.

Prints one line of JSON per outcome; CONFIG is a SandboxConfig as JSON, LOOP asyncio or uvloop.
With a fourth word, it is watched by a guardian of little patience.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec
import uvloop

from khala.model.spec import Stage
from sandbox import Job, Sandbox, SandboxConfig, enter, guardian
from tests.sandbox.harness import LIMITS, PACE


async def live(config: SandboxConfig, command: str, *, watched: bool) -> None:
    sandbox = await Sandbox.open(config)
    beating = asyncio.ensure_future(_beat(sandbox)) if watched else None
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
    if beating is not None:
        beating.cancel()
    await sandbox.close()


async def _beat(sandbox: Sandbox) -> None:
    guardian.HUNG_S, guardian._BEAT_S = 5 * min(PACE, 3), 0.0
    while True:
        sandbox.beat()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    settings = msgspec.json.decode(sys.argv[1], type=SandboxConfig)
    enter(settings)
    main = live(settings, sys.argv[3], watched=len(sys.argv) > 4)
    if sys.argv[2] == "uvloop":
        uvloop.run(main)
    else:
        asyncio.run(main)
