"""A role that runs looks at its own host now and then, with the doctor, and says what it found.

A host that was fit when the role began does not stay so: a disk fills up or slows down, a clock
drifts. The doctor is a child, for its checks block; it comes last in line for the processor.
What opens a sandbox is left out: its group would have to be where the role's own processes are.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from khala.config.settings import Settings
from khala.model.errors import KhalaError
from khala.model.limits import EXAMINATION_BYTES
from khala.protocol.doctor import Report
from khala.supervise.once import run_once
from roles.command import command

log = structlog.get_logger()

#: A role that has just begun has better things to do.
_FIRST_S = 30.0
_INTERVAL_S = 3600.0
_WITHIN_S = 120.0
_reports = msgspec.json.Decoder(Report)


def examiner(role: str, settings: Settings) -> tuple[str, ...]:
    """argv of the doctor for a role that runs with these settings."""
    return ("nice", "-n", "19", *command("doctor", settings), "--role", role, "--no-jail", "--json")


async def keep_examined(argv: tuple[str, ...], keep: Callable[[Report], Awaitable[None]]) -> None:
    """Until cancelled. An examination that fails, or cannot be kept, waits for the next one."""
    wait_s = _FIRST_S
    while True:
        # Hosts that began together, after a failure of power, do not end together.
        await asyncio.sleep(random.uniform(wait_s, 1.5 * wait_s))
        wait_s = _INTERVAL_S
        try:
            done = await run_once(argv, within_s=_WITHIN_S, said_bytes=EXAMINATION_BYTES)
            await keep(_reports.decode(done.said))
        except msgspec.MsgspecError:
            log.warning("doctor.failed", why=done.why)
        except KhalaError as error:
            log.warning("doctor.failed", why=str(error))
