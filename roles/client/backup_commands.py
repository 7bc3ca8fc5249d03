"""The commands on backups that judicators keep, as click sees them.

They ask a gateway from anywhere, and stand in one group with those of `roles.backup`, which make,
verify and restore a file on the host where they are given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roles.client.options import act, connected, formed

if TYPE_CHECKING:
    from roles.client.connection import Connection

_ID = click.argument("backup", metavar="BACKUP")
_no_wait = click.option("--no-wait", is_flag=True, help="Return when it has begun.")


@click.command("ls", short_help="Those that judicators keep.")
@formed
@connected
def list_backups(connection: Connection, form: str) -> None:
    """List the backups that judicators keep, the latest first."""
    from roles.client.backup_acts import list_backups
    from roles.client.tables import Form

    act(connection, lambda khala: list_backups(khala, Form(form)))


@click.command("get", short_help="One that a judicator keeps.")
@_ID
@formed
@connected
def get_backup(connection: Connection, form: str, backup: str) -> None:
    """Show how far BACKUP is, what is in it, and when it was last tried."""
    from roles.client.backup_acts import show_backup
    from roles.client.tables import Form

    act(connection, lambda khala: show_backup(khala, backup, Form(form)))


@click.command("take", short_help="Let a judicator save everything, and keep it.")
@click.option("--judicator", metavar="NAME", help="Which one.  [default: one that does not lead]")
@_no_wait
@connected
def take_backup(connection: Connection, judicator: str | None, no_wait: bool) -> None:
    """Let a judicator save everything and try it, print the id at once, and return when it is done:
    0 if it is a backup then, 1 if it failed. Tasks go on; and so does it if this is interrupted.

    \b
      khala.pex backup take --judicator b
      khala.pex backup download $(khala.pex backup take) saved.tar

    It is kept on the disk of that judicator, the latest --backups-kept of them; what must outlive
    that host is downloaded."""
    from roles.client.backup_acts import take_backup

    act(connection, lambda khala: take_backup(khala, judicator, wait=not no_wait))


@click.command("try", short_help="Let its judicator restore and count one again.")
@_ID
@_no_wait
@connected
def try_backup(connection: Connection, backup: str, no_wait: bool) -> None:
    """Let the judicator that keeps BACKUP restore it into a scratch MongoDB, count it and read
    every task, and return when that is done: 0 if it is whole, 1 if not."""
    from roles.client.backup_acts import try_backup

    act(connection, lambda khala: try_backup(khala, backup, wait=not no_wait))


@click.command("download", short_help="Save one as a file of this host.")
@_ID
@click.argument(
    "file", metavar="[FILE]", required=False, type=click.Path(path_type=Path, dir_okay=False)
)
@connected
def download_backup(connection: Connection, backup: str, file: Path | None) -> None:
    """Save the archive of BACKUP as FILE (khala-BACKUP.tar, unless named), which must not exist:
    whole or not at all, and for your eyes only, because whoever reads it reads every task and the
    hashes of tokens. Administrators may.

    \b
      khala.pex backup download 5a1f0c2be97d4e63 saved.tar
      khala.pex backup verify saved.tar                      on any host
      khala.pex backup restore saved.tar --data-dir /srv/new
    """
    from roles.client.backup_acts import download_backup

    act(connection, lambda khala: download_backup(khala, backup, file))


@click.command("rm", short_help="Remove some that judicators keep.")
@click.argument("backups", nargs=-1, required=True, metavar="BACKUP...")
@connected
def remove_backups(connection: Connection, backups: tuple[str, ...]) -> None:
    """Remove backups from the judicators that keep them. They are gone for good."""
    from roles.client.backup_acts import remove_backups

    act(connection, lambda khala: remove_backups(khala, backups))


BACKUP_COMMANDS = (
    list_backups,
    get_backup,
    take_backup,
    try_backup,
    download_backup,
    remove_backups,
)
