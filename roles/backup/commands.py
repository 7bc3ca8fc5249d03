"""`backup` on the command line; the work is in the modules beside this one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from khala.config.options import Command, add_options, settings_from
from khala.config.settings import Settings


def _settings(options: dict[str, object]) -> Settings:
    return settings_from("judicator", options).settings


_json = click.option("--json", "as_json", is_flag=True, help="One JSON object: what is in it.")


@click.group(short_help="The whole cluster's data as one file.")
def backup() -> None:
    """Save, try and restore all tasks, with their sources, outputs and artifacts.

    \b
    A file, on a judicator's host while everything works; verify and restore on any host:
      khala.pex backup create -o khala-2026-11-24.tar
      khala.pex backup verify khala-2026-11-24.tar
      khala.pex backup restore khala-2026-11-24.tar --data-dir /srv/new
      khala.pex up --data-dir /srv/new

    \b
    Kept by the judicators, through a gateway from anywhere:
      khala.pex backup take
      khala.pex backup ls
      khala.pex backup download 5a1f0c2be97d4e63 saved.tar

    Who can read the file can read every task: it is made with mode 0600.
    """


@add_options("judicator")
@backup.command(
    "create", cls=Command, short_help="Save everything into a file, on a judicator's host."
)
@click.option(
    "-o",
    "--output-file",
    required=True,
    metavar="FILE",
    help="Must not exist. `backup take` lets a judicator keep it.",
)
@click.option(
    "--no-verify", is_flag=True, help="Do not restore it into a scratch MongoDB to count it."
)
@_json
def create(output_file: str, no_verify: bool, as_json: bool, **options: object) -> None:
    """Save everything into FILE, and restore it into a scratch MongoDB to see that it can be.

    Run it on a judicator's host, with the judicator's options and as its user. Tasks go on; what is
    accepted or ends while the copy is taken may be in it or not. Needs room beside FILE for the
    scratch copy, unless --no-verify."""
    from roles.backup.app import create

    settings = _settings(options)
    sys.exit(create(settings, Path(output_file), verified=not no_verify, as_json=as_json))


@add_options("judicator")
@backup.command(
    "verify", cls=Command, short_help="Restore a file into a scratch MongoDB and count."
)
@click.argument("file", type=click.Path(path_type=Path))
@_json
def verify(file: Path, as_json: bool, **options: object) -> None:
    """Restore FILE into a scratch MongoDB, count it, and read every task. Changes nothing else.
    What a judicator keeps is tried where it is: `backup try`."""
    from roles.backup.app import verify

    sys.exit(verify(_settings(options), file, as_json=as_json))


@add_options("judicator")
@backup.command("restore", cls=Command, short_help="Make a new cluster out of a file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--init",
    is_flag=True,
    help="With certificates, so that other hosts can join, as `judicator --init` makes it.",
)
def restore(file: Path, init: bool, **options: object) -> None:
    """Make a new cluster in an empty --data-dir, with everything that is in FILE.

    Start it as always afterwards. It is another cluster than the one that was saved: other hosts
    join it anew. Stop the old one first: tasks that were not finished run again here."""
    from roles.backup.app import restore

    sys.exit(restore(_settings(options), file, init=init))
