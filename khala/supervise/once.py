"""A command of this file that is run once beside a service, for its answer.

It must not outlive the service, whatever ends that; it must not take for ever; and what it says is
kept up to a bound, whatever it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from asyncio.subprocess import DEVNULL, PIPE

from msgspec import Struct

from khala.model.errors import Unavailable, invariant

_PIECE_BYTES = 64 * 1024
#: Of what is said on stderr, the end.
_COMPLAINT_BYTES = 8 * 1024


class Once(Struct, frozen=True, kw_only=True):
    """How a command ended."""

    #: Below zero: the signal that ended it.
    code: int
    said: bytes
    complaint: str

    @property
    def why(self) -> str:
        """The last line on stderr, which is the reason where there is one."""
        lines = [line for line in self.complaint.splitlines() if line.strip()]
        end = f"exit code {self.code}" if self.code >= 0 else f"signal {-self.code}"
        if not lines:
            return f"it ended with {end} and said nothing"
        return lines[-1].strip().removeprefix("khala: ")


async def run_once(argv: tuple[str, ...], *, within_s: float, said_bytes: int) -> Once:
    """Raise `Unavailable` if it cannot be started, or has not ended by then. Cancelled, it kills
    the command."""
    invariant(
        threading.current_thread() is threading.main_thread(),
        "a command was started outside the main thread: its parent-death signal would come early",
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", *argv),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{argv[-1]} could not be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(within_s):
            said, complaint, _ = await asyncio.gather(
                _read_end(process.stdout, said_bytes),
                _read_end(process.stderr, _COMPLAINT_BYTES),
                process.wait(),
            )
    except TimeoutError:
        raise Unavailable(f"it had not ended after {within_s:g} s and was stopped") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Once(
        code=process.returncode or 0, said=said, complaint=complaint.decode(errors="replace")
    )


async def _read_end(stream: asyncio.StreamReader | None, most_bytes: int) -> bytes:
    """All of it is read, so that nobody waits for us; its last bytes are kept."""
    kept = b""
    while stream is not None and (piece := await stream.read(_PIECE_BYTES)):
        kept = (kept + piece)[-most_bytes:]
    return kept
