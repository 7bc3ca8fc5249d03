"""A mongod that nobody else can reach: on a socket inside a private directory, in no replica set.

It fills the data directory of a new cluster, or a temporary one that shows that a backup can be
restored; its data is an ordinary mongod's: started as a member of a set, it becomes its first. It
also opens a member's own data to change what that knows of its set, as no running member lets it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from khala.model.errors import KhalaError, Unavailable
from khala.store.codec import Database
from khala.store.copying import connect_alone
from khala.supervise import binaries

# That its mongod has ended is said once, by `mongod_on`, and not by the driver with its trace.
logging.getLogger("pymongo").addHandler(logging.NullHandler())

_START_S = 60.0
_STOP_S = 60.0
_LOG_BYTES = 2000


@asynccontextmanager
async def mongod_on(data: Path, mongod_bin: str | None) -> AsyncIterator[Database]:
    """The database on `data`; stopped cleanly, so that its files are whole."""
    program = binaries.find_program("mongod", mongod_bin)
    binaries.require_libraries(program)
    # The path of a socket may have 107 bytes, and that of a data directory is the operator's.
    with tempfile.TemporaryDirectory(prefix="khala-scratch-") as folder:
        socket = Path(folder) / "mongod.sock"
        log = Path(folder) / "log"
        with open(log, "wb") as output:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *(str(program), "--dbpath", str(data), "--bind_ip", str(socket)),
                *("--wiredTigerCacheSizeGB", "0.5", "--quiet"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            await _wait_for(socket, process, log)
            client, database = connect_alone(str(socket))
            try:
                yield database
            except KhalaError as error:
                if process.returncode is None:
                    raise
                raise Unavailable(f"its mongod ended ({process.returncode})") from error
            finally:
                await client.close()
        finally:
            await _stop(process)


async def _wait_for(socket: Path, process: asyncio.subprocess.Process, log: Path) -> None:
    try:
        async with asyncio.timeout(_START_S):
            while process.returncode is None:
                if socket.exists():
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    said = log.read_text(errors="replace")[-_LOG_BYTES:]
    raise Unavailable(f"a mongod for the copy did not start; it said:\n{said}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    os.kill(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Unavailable(f"the mongod for the copy did not stop within {_STOP_S:g} s") from None
