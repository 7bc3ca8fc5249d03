"""From the word that names a task to the two ends of it, side by side.

In three steps, because of what a sandbox does to its process: what enters namespaces may go on as
a child and must have no threads, so that comes first; what speaks to the cluster has threads, and
ends them with its loop; then the sandbox is opened, in a loop of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from khala.client import AsyncKhala
from khala.config.settings import Settings
from khala.model.errors import KhalaError
from khala.model.limits import SLOTS_MAX
from khala.model.live import Channel, stream_of
from khala.model.outcome import Reason
from khala.model.spec import Stage
from khala.net.loop import run as run_loop
from roles.client import exits
from roles.client.connection import Connection
from roles.client.selectors import select_one
from roles.executor.app import sandbox_config
from roles.replay import telling
from roles.replay.comparing import alike, compare
from roles.replay.ending import End, recorded_end, replayed_end
from roles.replay.keeping import Keep
from roles.replay.pulling import Pulled, pull
from roles.replay.running import Replayed, run_here
from sandbox import SandboxLost, enter
from sandbox.trial import put_back

#: As the other commands of users.
_PATIENCE_S = 10.0


class Wanted(Struct, frozen=True, kw_only=True):
    """Of the command line."""

    #: Names the task, as everywhere.
    word: str
    case: int | None
    keep: Path | None
    as_json: bool


def run(settings: Settings, connection: Connection, wanted: Wanted) -> int:
    """0 if it ends here as it did there, 1 if not, else the code of what is in the way."""
    try:
        return _replay(settings, connection, wanted)
    except SandboxLost as error:
        code, message = exits.UNREACHABLE, f"the jail was destroyed from outside: {error.message}"
    except OSError as error:
        code, message = exits.UNREACHABLE, f"this machine could not run it: {error}"
    except KhalaError as error:
        code, message = exits.code_of(error), error.message
    click.echo(f"khala: {message}", err=True)
    return code


def _replay(settings: Settings, connection: Connection, wanted: Wanted) -> int:
    config = sandbox_config(settings)
    config = msgspec.structs.replace(
        config,
        name=f"replay-{os.getpid()}",
        slots=1,
        warm=0,
        # Behind those of an executor that may run here, too.
        uid_base=config.uid_base + SLOTS_MAX,
    )
    with ExitStack() as undo:
        undo.enter_context(put_back(config.name))
        enter(config)
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="khala-replay-")))
        pulled = asyncio.run(_fetch(connection, wanted, folder))
        keep = undo.enter_context(closing(Keep(wanted.keep))) if wanted.keep else None

        def on_open() -> None:
            if keep is not None:
                keep.keep_inputs(pulled)

        replayed = run_loop(run_here(config, pulled, on_open, quiet=wanted.as_json))
        if replayed.outcome.reason is Reason.CANCELLED:
            click.echo("khala: interrupted; nothing is compared", err=True)
            return exits.INTERRUPTED
        return _tell(pulled, replayed, wanted, keep)


async def _fetch(connection: Connection, wanted: Wanted, folder: Path) -> Pulled:
    async with AsyncKhala(connection.url, token=connection.token, patience_s=_PATIENCE_S) as khala:
        task = await khala.get(await select_one(khala, connection, wanted.word))
        return await pull(khala, task, folder, wanted.case)


def _tell(pulled: Pulled, replayed: Replayed, wanted: Wanted, keep: Keep | None) -> int:
    recorded = recorded_end(pulled.task, pulled.cases, pulled.recorded)
    here = replayed_end(replayed.outcome, pulled.cases, replayed.folder)
    if keep is not None:
        keep.keep_outputs(recorded, here)
    lines = compare(recorded, here, whole=wanted.case is None)
    report = telling.Report(
        task=pulled.task.id,
        case=wanted.case,
        alike=alike(lines),
        lines=lines,
        caveats=telling.caveats_of(pulled.task, replayed.enforcement),
        recorded_enforcement=pulled.task.enforcement,
        replayed_enforcement=replayed.enforcement,
    )
    if wanted.as_json:
        telling.show_json(report)
    else:
        _show_compiler(here, replayed.folder)
        telling.show_table(report)
    return 0 if report.alike else exits.FAILED


def _show_compiler(here: End, folder: Path) -> None:
    """What it wrote says why there was nothing to execute."""
    if Stage.EXECUTE in here.runs or Stage.COMPILE not in here.runs:
        return
    for channel, file in ((Channel.STDOUT, sys.stdout), (Channel.STDERR, sys.stderr)):
        path = folder / stream_of(Stage.COMPILE, channel)
        if path.exists():
            file.buffer.write(path.read_bytes())
            file.flush()
