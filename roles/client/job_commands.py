"""The commands of jobs, of documents in files, of blobs and of presets, as click sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from roles.client.options import STATES, act, connected, formed, reasoned

if TYPE_CHECKING:
    from khala.model.outcome import Cancellation
    from roles.client.connection import Connection

_JOB = click.argument("job", metavar="JOB")


def array_options(command: Callable[..., None]) -> Callable[..., None]:
    """What makes many tasks of one command, for `submit`."""
    options = (
        click.option("--array", metavar="INDEXES", help="Many tasks: 0-99, 1-100:2, 1,3,5-8; %8."),
        click.option("--each-line", metavar="FILE", help="A task for each line; - is stdin."),
        click.option("--from-json", metavar="FILE", help="A task for each item of a JSON list."),
        click.option("--max-fails", type=int, help="Stop the job when more than these failed."),
        click.option("--progress", is_flag=True, help="Wait, and draw a bar on stderr."),
        click.option("--parsable", is_flag=True, help="Print the id alone, as it always does."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(short_help="Draw a job's progress until it has ended.")
@_JOB
@connected
def progress(connection: Connection, job: str) -> None:
    """Draw a bar on stderr until all tasks of JOB have ended: 0 if they succeeded, else 1."""
    from roles.client import job_acts

    act(connection, lambda khala: job_acts.progress(khala, connection, job))


@click.group(short_help="Many tasks submitted as one.")
def job() -> None:
    """Jobs: arrays (`submit --array`) and lists of tasks."""


@job.command("ls")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@formed
@connected
def list_jobs(connection: Connection, form: str, limit: int) -> None:
    """List jobs, newest first."""
    from roles.client import job_acts
    from roles.client.tables import Form

    act(connection, lambda khala: job_acts.list_jobs(khala, Form(form), limit))


@job.command("get")
@_JOB
@formed
@connected
def get_job(connection: Connection, job: str, form: str) -> None:
    """Show JOB, and how many of its tasks have ended."""
    from roles.client import job_acts
    from roles.client.tables import Form

    act(connection, lambda khala: job_acts.get(khala, connection, job, Form(form)))


@job.command("tasks")
@_JOB
@click.option("--state", "states", multiple=True, type=click.Choice(STATES))
@formed
@connected
def list_job_tasks(connection: Connection, job: str, form: str, states: tuple[str, ...]) -> None:
    """List the tasks of JOB in the order of their indexes."""
    from khala.model.task import TaskState
    from roles.client import job_acts
    from roles.client.tables import Form

    wanted = tuple(TaskState(state) for state in states)
    act(
        connection,
        lambda khala: job_acts.list_tasks(khala, connection, job, Form(form), wanted),
    )


@job.command("logs")
@_JOB
@click.option("--zip", "file", metavar="FILE", help="Save all of it as an archive, show nothing.")
@click.option(
    "--after",
    type=click.IntRange(0, 1_000_000),
    default=0,
    help="With --zip: begin behind this task, as an archive says that lacks some.",
)
@connected
def show_job_logs(connection: Connection, job: str, file: str | None, after: int) -> None:
    """Show what those tasks of JOB wrote that have ended, one after the other: each stream to its
    own, and which task it is to stderr.

    \b
      khala.pex job logs last
      khala.pex job logs last --zip logs.zip"""
    from pathlib import Path

    from roles.client import job_logs

    if file is None:
        if after:
            raise click.UsageError("--after: where an archive begins; add --zip FILE")
        act(connection, lambda khala: job_logs.show_logs(khala, connection, job))
    else:
        into = Path(file)
        act(connection, lambda khala: job_logs.save_logs(khala, connection, job, into, after))


@job.command("graph")
@_JOB
@formed
@connected
def show_job_graph(connection: Connection, job: str, form: str) -> None:
    """Show what JOB or its tasks wait for, and what waits for them."""
    from roles.client.graph import show_graph
    from roles.client.tables import Form

    act(connection, lambda khala: show_graph(khala, connection, job, Form(form)))


@job.command("cancel")
@_JOB
@reasoned
@connected
def cancel_job(connection: Connection, job: str, said: Cancellation) -> None:
    """Cancel JOB: what has not begun never will, what runs is killed."""
    from roles.client import job_acts

    act(connection, lambda khala: job_acts.cancel(khala, connection, job, said))


@job.command("hold")
@_JOB
@connected
def hold_job(connection: Connection, job: str) -> None:
    """Hold JOB: none of its tasks begins before it is released, but those that run end."""
    from roles.client import job_acts

    act(connection, lambda khala: job_acts.hold(khala, connection, job, held=True))


@job.command("release")
@_JOB
@connected
def release_job(connection: Connection, job: str) -> None:
    """Release JOB. Tasks of it that were held one by one stay held."""
    from roles.client import job_acts

    act(connection, lambda khala: job_acts.hold(khala, connection, job, held=False))


@job.command("retry")
@_JOB
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["failed", "cancelled"]),
    default=("failed",),
    show_default=True,
    help="Several times for both.",
)
@connected
def retry_job(connection: Connection, job: str, only: tuple[str, ...]) -> None:
    """Run those tasks of JOB again that failed, and print the id of the job that they are now.

    They keep their indexes. JOB has ended; its own results do not change. Asked for again, it is
    the same job."""
    from roles.client import job_acts

    act(connection, lambda khala: job_acts.retry(khala, connection, job, only))


@click.group(short_help="Files that are sent once and named by any number of tasks.")
def blob() -> None:
    """Blobs: bytes by their SHA-256."""


@blob.command("put")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False))
@connected
def put_blob(connection: Connection, files: tuple[str, ...]) -> None:
    """Send files, unless they are there, and print their names."""
    from roles.client import job_acts

    act(connection, lambda khala: job_acts.put_blobs(khala, files))


@blob.command("get")
@click.argument("name", metavar="SHA256")
@connected
def get_blob(connection: Connection, name: str) -> None:
    """Write a blob to stdout."""
    from roles.client import job_acts

    act(connection, lambda khala: job_acts.get_blob(khala, name))


@blob.command("uploads")
@click.option("--user", type=click.IntRange(min=0), help="Whose.  [default: one's own]")
@formed
@connected
def list_uploads(connection: Connection, form: str, user: int | None) -> None:
    """List what was begun to be sent and is no blob yet. `blob put` of the same file goes on with
    it; what nobody goes on with is gone after 12 hours."""
    from roles.client import uploads as sent
    from roles.client.tables import Form

    act(connection, lambda khala: sent.list_uploads(khala, Form(form), user))


@blob.command("drop")
@click.argument("uploads", nargs=-1, required=True, metavar="UPLOAD...")
@connected
def drop_uploads(connection: Connection, uploads: tuple[str, ...]) -> None:
    """Give uploads up, by their ids. What has become a blob stays one."""
    from roles.client import uploads as sent

    act(connection, lambda khala: sent.drop_uploads(khala, uploads))


@click.command(short_help="Submit the documents of a file, each once.")
@click.option("-f", "--file", required=True, metavar="FILE", help="- is stdin.")
@connected
def apply(connection: Connection, file: str) -> None:
    """Submit the document of a task or a job, or a list of them, and print their ids.

    A document is known by its `key`, or else by its `name`: applied again it is the same task, and
    another content under the same one is refused. FILE is JSON, or TOML if it is called so."""
    from roles.client import document_acts

    act(connection, lambda khala: document_acts.apply(khala, connection, file))


@click.command(short_help="Submit many tasks, one document a line.")
@click.option("-f", "--file", required=True, metavar="FILE", help="JSON lines; - is stdin.")
@click.option("--dry-run", is_flag=True, help="Say what would be refused, and submit nothing.")
@connected
def batch(connection: Connection, file: str, dry_run: bool) -> None:
    """Submit the documents of a file and print the ids of their tasks. Each is accepted or refused
    by itself; 2 if one was refused."""
    from roles.client import document_acts

    if dry_run:
        act(connection, lambda khala: document_acts.plan_batch(khala, file))
    act(connection, lambda khala: document_acts.batch(khala, connection, file))


@click.group(short_help="Named beginnings of tasks.")
def preset() -> None:
    """Presets: what a task begins with, as the commands, limits and image of a language.

    \b
      khala.pex preset put cpp20 -f cpp20.json
      khala.pex run --preset cpp20 --source main.cpp --time 2s

    A preset is a part of a task document, as POST /api/v2/tasks takes it. What a task says itself
    wins over it, and tasks that exist stay as they are when it changes.
    """


@preset.command("ls")
@formed
@connected
def list_presets(connection: Connection, form: str) -> None:
    """List presets by name."""
    from roles.client import presets
    from roles.client.tables import Form

    act(connection, lambda khala: presets.list_presets(khala, Form(form)))


@preset.command("get")
@click.argument("name")
@connected
def show_preset(connection: Connection, name: str) -> None:
    """Print what a preset says, as JSON."""
    from roles.client import presets

    act(connection, lambda khala: presets.show_preset(khala, name))


@preset.command("put")
@click.argument("name")
@click.option("-f", "--file", metavar="FILE", required=True, help="JSON; - is stdin.")
@click.option("--description", default="", help="For people; up to 200 characters.")
@connected
def put_preset(connection: Connection, name: str, file: str, description: str) -> None:
    """Make a preset, or replace what it says."""
    from roles.client import presets

    act(connection, lambda khala: presets.put_preset(khala, name, file, description))


@preset.command("rm")
@click.argument("name")
@connected
def remove_preset(connection: Connection, name: str) -> None:
    """Remove a preset, and print what it said."""
    from roles.client import presets

    act(connection, lambda khala: presets.remove_preset(khala, name))


JOB_COMMANDS = (progress, job, apply, batch, blob, preset)
