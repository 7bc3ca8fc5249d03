"""`job logs`: what the tasks of a job wrote, one after the other, or as an archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import click

from khala.client import AsyncKhala, LogQuery
from khala.model.errors import Rejected
from khala.model.task import TERMINAL
from roles.client import tables
from roles.client.connection import Connection
from roles.client.output import Output, show_log
from roles.client.saving import save
from roles.client.selectors import select_job

#: Of the archive, as `roles.gateway.job_logs` calls it.
NOTE = "LEFT-OUT.txt"


async def show_logs(khala: AsyncKhala, connection: Connection, word: str) -> int:
    """Of each that has ended, in the order of their indexes; which one it is goes to stderr."""
    job = await select_job(khala, connection, word)
    async for row in khala.job_tasks(job, states=tuple(sorted(TERMINAL))):
        if row.attempt and row.job is not None:
            click.echo(f"khala: index {row.job.index}, {row.state}", err=True)
            await show_log(khala, row.id, LogQuery(), Output())
    return 0


async def save_logs(
    khala: AsyncKhala, connection: Connection, word: str, file: Path, after: int
) -> int:
    job = await select_job(khala, connection, word)
    if not file.parent.is_dir():
        raise Rejected(f"--zip: there is no folder {str(file.parent)!r}", field="--zip")
    await save(khala.open_job_logs(job, after=after), file, "another name with --zip")
    click.echo(f"{tables.plain(str(file))}  {tables.size(file.stat().st_size)}")
    with zipfile.ZipFile(file) as archive:
        if NOTE in archive.namelist():
            for line in archive.read(NOTE).decode().splitlines():
                click.echo(f"khala: {tables.plain(line)}", err=True)
    return 0
