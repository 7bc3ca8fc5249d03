"""What the commands on backups do, once their options are read."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from khala.client import AsyncKhala
from khala.model.errors import Rejected, Unavailable
from khala.protocol.backups import BackupState
from khala.protocol.v2 import Backup
from roles.client import exits, tables
from roles.client.acts import each_of
from roles.client.moving import Moving
from roles.client.tables import Form

_LOOK_S = 0.5
#: A judicator that is started again tells what has become of it.
_AWAY_S = 60.0


async def list_backups(khala: AsyncKhala, form: Form) -> int:
    found = await khala.backups()
    if form in tables.DOCUMENTS:
        tables.show_structs(found.items, form)
    elif form is Form.NAME:
        for each in found.items:
            click.echo(each.id)
    else:
        _show_table(found.items, wide=form is Form.WIDE)
    for silent in found.unreachable:
        click.echo(
            f"khala: judicator {silent} cannot be asked just now; what it keeps is not listed",
            err=True,
        )
    return 0


def _show_table(backups: list[Backup], *, wide: bool) -> None:
    head = ["ID", "JUDICATOR", "STATE", "AGE", "SIZE", "TASKS"]
    rows = [
        [each.id, each.judicator, _state(each), tables.age(each.created_at), *_amounts(each)]
        for each in backups
    ]
    if wide:
        head += ["BLOBS", "CREATED", "TRIED"]
        for row, each in zip(rows, backups, strict=True):
            tried = tables.date(each.verified_at) if each.verified_at else "-"
            row += [str(each.blobs), tables.date(each.created_at), tried]
    tables.show_table(head, rows)


async def show_backup(khala: AsyncKhala, backup: str, form: Form) -> int:
    """Lines for people, or the document."""
    found = await khala.get_backup(backup)
    if form in tables.DOCUMENTS:
        tables.show_structs([found], form)
    elif form is Form.NAME:
        click.echo(found.id)
    else:
        size, tasks = _amounts(found)
        tables.show_lines(
            backup=found.id,
            judicator=found.judicator,
            state=_state(found),
            created=f"{tables.date(found.created_at)}, {tables.age(found.created_at)} ago",
            size=size,
            tasks=tasks,
            blobs=str(found.blobs),
            tried=tables.date(found.verified_at) if found.verified_at else "",
            error=found.error or "",
        )
    return 0


async def take_backup(khala: AsyncKhala, judicator: str | None, *, wait: bool) -> int:
    """Print the id as soon as it has begun."""
    began = await khala.create_backup(judicator)
    click.echo(began.id)
    if not wait:
        return 0
    ended = await _until_ended(khala, began, f"{began.judicator} takes backup {began.id}")
    if ended.state is BackupState.FAILED:
        click.echo(f"khala: backup {ended.id} failed: {tables.plain(ended.error or '')}", err=True)
        return exits.FAILED
    click.echo(f"khala: {_told(ended)}", err=True)
    return 0


async def try_backup(khala: AsyncKhala, backup: str, *, wait: bool) -> int:
    began = await khala.verify_backup(backup)
    doing = f"{began.judicator} tries backup {began.id}"
    if not wait:
        click.echo(f"{doing}; see khala.pex backup get {began.id}")
        return 0
    ended = await _until_ended(khala, began, doing)
    # A judicator that is stopped meanwhile leaves what an earlier trial has found.
    if ended.verified_at in (None, began.verified_at):
        why = tables.plain(ended.error or "its judicator was stopped; try it again")
        click.echo(f"khala: backup {ended.id} was not restored: {why}", err=True)
        return exits.FAILED
    click.echo(_told(ended))
    return 0


async def download_backup(khala: AsyncKhala, backup: str, file: Path | None) -> int:
    path = file or Path(f"khala-{backup}.tar")
    try:
        await khala.download_backup(backup, path, progress=Moving("received"))
    except FileExistsError:
        raise Rejected(
            f"FILE: {path} exists; a backup replaces nothing, give another name", field="FILE"
        ) from None
    except OSError as error:
        raise Rejected(f"FILE: {path} cannot be written: {error.strerror}", field="FILE") from error
    click.echo(f"{path}  {tables.size(path.stat().st_size)}")
    return 0


async def remove_backups(khala: AsyncKhala, backups: tuple[str, ...]) -> int:
    async def remove(backup: str) -> str:
        await khala.remove_backup(backup)
        return f"{backup} removed"

    return await each_of(backups, remove)


async def _until_ended(khala: AsyncKhala, began: Backup, doing: str) -> Backup:
    """As it is then. Nobody knows how much is left: what is told is for how long it goes on. Raise
    `Unavailable` if nobody can say how it is for a while."""
    click.echo(f"khala: {doing}; it goes on without this command", err=True)
    screen, began_at = sys.stderr.isatty(), time.monotonic()
    found, answered_at = began, began_at
    try:
        while found.state is BackupState.RUNNING or found.verifying:
            if screen:
                waited = tables.span(time.monotonic() - began_at)
                click.echo(f"\r\x1b[Kkhala: {doing}: {waited}", nl=False, err=True)
            await asyncio.sleep(_LOOK_S)
            try:
                found, answered_at = await khala.get_backup(began.id), time.monotonic()
            except Unavailable:
                if time.monotonic() - answered_at > _AWAY_S:
                    raise
    finally:
        if screen:
            click.echo(err=True)
    return found


def _state(backup: Backup) -> str:
    if backup.verifying:
        return "being tried"
    if backup.state is BackupState.DONE and backup.verified_at is None:
        return "not restored"
    return backup.state


def _amounts(backup: Backup) -> tuple[str, str]:
    """Of what is done: its size, and how many tasks."""
    if backup.state is not BackupState.DONE:
        return "-", "-"
    return tables.size(backup.size_bytes), str(backup.tasks)


def _told(backup: Backup) -> str:
    size, tasks = _amounts(backup)
    return (
        f"backup {backup.id} on {backup.judicator}: {tasks} tasks, {size};"
        " restored into a scratch MongoDB and counted: identical"
    )
