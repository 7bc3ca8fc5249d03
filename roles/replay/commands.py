"""`replay` on the command line; the work is in the modules beside this one.

Nothing heavy is imported at the top, so that `--help` stays quick.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from khala.config.options import Command, add_options, settings_from
from roles.client.options import SELECTORS, connected, one_task

if TYPE_CHECKING:
    from roles.client.connection import Connection


@add_options("replay")
@click.command(
    cls=Command,
    short_help="Run a task once more on this machine, and compare.",
    help=f"""Run a task that has ended once more, here, and compare what comes of it.

    \b
      khala.pex replay last
      khala.pex replay 6b04d478 --case 7 --keep /tmp/case7
      khala.pex replay last -o json | jq '.lines[] | select(.same == false)'

    All that the task was given is taken from the cluster byte for byte and runs on this machine, in
    the jail of an executor, under the same limits, judged by the same checker. No executor takes
    part and nothing is recorded. What it writes is shown as `run` shows it; then both ends beside
    each other, on stderr: state, reason, verdict, exit code and signal, and every byte of the
    outputs, decide whether they are alike; times and memory are shown.

    Needs what an executor needs: root, or a delegated cgroup, or --allow-degraded. Exit code 0 if
    it ended alike, 1 if it differs.

    {SELECTORS}""",
)
@one_task
@click.option("--case", type=click.IntRange(min=1), help="Only that case, by its number from 1.")
@click.option(
    "--keep",
    metavar="DIR",
    help="Leave its inputs and both outputs in this folder, which is made.",
)
@click.option(
    "-o",
    "--output-format",
    "form",
    type=click.Choice(("table", "json")),
    default="table",
    help="json: the comparison as one document on stdout, and nothing of the program's.",
)
@connected
def replay(
    connection: Connection,
    task: str,
    case: int | None,
    keep: str | None,
    form: str,
    **options: object,
) -> None:
    from pathlib import Path

    from roles.replay.app import Wanted, run

    settings = settings_from("replay", options).settings
    wanted = Wanted(word=task, case=case, keep=Path(keep) if keep else None, as_json=form == "json")
    sys.exit(run(settings, connection, wanted))
