"""The users' commands as click sees them: options here, work in `roles.client.acts`.

Nothing heavy is imported at the top, so that `--help` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from roles.client import own
from roles.client.job_commands import JOB_COMMANDS, array_options
from roles.client.live_commands import LIVE_COMMANDS
from roles.client.load_commands import LOAD_COMMANDS
from roles.client.node_commands import NODE_COMMANDS
from roles.client.options import (
    SELECTORS,
    SORTS,
    STATES,
    act,
    complete_task,
    connected,
    filtered,
    formed,
    one_task,
    reasoned,
    sent,
    some_tasks,
    task_options,
)
from roles.client.patch_commands import PATCH_COMMANDS
from roles.client.quota_commands import quota
from roles.client.retention_commands import retention

if TYPE_CHECKING:
    from khala.model.outcome import Cancellation
    from roles.client.connection import Connection


@click.command(short_help="Run one command, show its output, end as it did.")
@task_options
@sent
@connected
def run(connection: Connection, idempotency_key: str | None, dry_run: bool, **options: Any) -> None:
    """Run COMMAND as a task, wait for it, show its output, and end with its exit code.

    \b
      khala.pex run -- echo hello
      khala.pex run --source main.cpp --compile 'g++ -o main main.cpp' --stdin in.txt -- ./main
      khala.pex run -f job.sh --time 10s --mem 256MiB

    One argument is a script for bash; several are one command, word by word. Ctrl-C cancels the
    task. What Khala has to say goes to stderr.
    """
    from roles.client import acts
    from roles.client.directives import with_directives
    from roles.client.request import Options, key_of, task_of

    key = key_of(idempotency_key)
    task = task_of(Options(**with_directives(run, options)))
    if task.held and not dry_run:
        raise click.UsageError(
            "--hold: `run` waits for the end, and nothing would release it; submit it"
        )
    if dry_run:
        act(connection, lambda khala: acts.plan(khala, connection, task))
    act(connection, lambda khala: acts.run(khala, connection, task, key=key))


@click.command(short_help="Submit one command, print the id.")
@task_options
@array_options
@click.option("--wait", is_flag=True, help="Return when it has ended: 0 if it succeeded, else 1.")
@sent
@connected
def submit(connection: Connection, wait: bool, **options: Any) -> None:
    """Submit COMMAND as a task and print its id. Options as in `run`.

    With --array, --each-line or --from-json it is submitted as a job of many tasks, which find
    out which one they are from KHALA_ARRAY_INDEX and KHALA_ENTRY."""
    from roles.client import acts, job_acts
    from roles.client.directives import with_directives
    from roles.client.request import Options, key_of, task_of

    options = with_directives(submit, options)
    options.pop("parsable")
    key, dry_run = key_of(options.pop("idempotency_key")), options.pop("dry_run")
    array, fails, draw = (options.pop(name) for name in ("array", "max_fails", "progress"))
    entries = job_acts.read_entries(options.pop("each_line"), options.pop("from_json"))
    task = task_of(Options(**options))
    sending = acts.Sending(key=key, wait=wait, draw=draw)
    if array is not None or entries is not None:
        job = job_acts.job_of(task, array, entries, fails)
        if dry_run:
            act(connection, lambda khala: job_acts.plan(khala, connection, job))
        act(connection, lambda khala: job_acts.submit(khala, connection, job, sending))
    if dry_run:
        act(connection, lambda khala: acts.plan(khala, connection, task))
    act(connection, lambda khala: acts.submit(khala, connection, task, sending))


@click.command(short_help="List tasks.")
@formed
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Several times for any of these.",
)
@click.option("--user", type=int)
@click.option(
    "--search",
    metavar="TEXT",
    help="By words, each in the name, the beginning of the id (6 digits or more), or KEY=VALUE.",
)
@filtered
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    help="finished_at: only what has ended; priority: the highest first.  [default: created_at]",
)
@click.option("--oldest", is_flag=True, help="The oldest first; by priority, of each.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--columns", metavar="NAME,...", help="Of the table: id, name, state, executor, ...")
@click.option("-w", "--watch", is_flag=True, help="Show it again when a task has changed.")
@click.option("--looks", type=click.IntRange(min=1), help="With --watch: end after so many.")
@connected
def ls(connection: Connection, form: str, matching: str | None, limit: int, **given: Any) -> None:
    """List tasks, the newest first unless asked otherwise.

    \b
      khala.pex ls --state queued,running --columns id,name,executor
      khala.pex ls --search 'alpha hw=3'
      khala.pex ls --sort priority --oldest --state queued
      khala.pex ls --watch --filter label=course=cs101
      khala.pex ls --watch -o jsonl | jq -r 'select(.done) | .id'

    --watch draws the list anew on a terminal, at most once a second; elsewhere it prints the tasks
    that are new or have changed.
    """
    from roles.client import acts
    from roles.client.selectors import filter_of, parameters_of
    from roles.client.tables import Form, columns_of

    filters = parameters_of(filter_of(matching)) if matching else {}
    if given["states"]:
        filters["state"] = ",".join(given["states"])
    if given["user"] is not None:
        filters["user"] = str(given["user"])
    if given["search"] is not None:
        filters["q"] = given["search"]
    if given["sort"] is not None:
        filters["sort"] = given["sort"]
    if given["oldest"]:
        filters["order"] = "oldest"
    shown = acts.Listed(
        form=Form(form),
        columns=columns_of(given["columns"], Form(form), given["sort"]),
        filters=filters,
        limit=limit,
    )
    if given["watch"]:
        act(connection, lambda khala: acts.watch_tasks(khala, shown, given["looks"]))
    if given["looks"] is not None:
        raise click.UsageError("--looks: how often --watch shows the list; add --watch")
    act(connection, lambda khala: acts.list_tasks(khala, shown))


_WAIT = """Return when all have ended: 0 if all succeeded, 1 if one did not, 7 after --timeout."""


@click.command(short_help="Show tasks.", help=f"Show tasks with their measurements.\n\n{SELECTORS}")
@some_tasks
@formed
@connected
def get(connection: Connection, tasks: tuple[str, ...], form: str) -> None:
    from roles.client import acts
    from roles.client.tables import Form

    act(connection, lambda khala: acts.get(khala, connection, tasks, Form(form)))


@click.command(
    short_help="Show tasks in words.",
    help=f"Show tasks in words: where they stand, what they used, how they ended.\n\n{SELECTORS}",
)
@some_tasks
@connected
def describe(connection: Connection, tasks: tuple[str, ...]) -> None:
    from roles.client import acts
    from roles.client.tables import Form

    act(connection, lambda khala: acts.get(khala, connection, tasks, Form.TABLE))


@click.command(
    short_help="Show what a task wrote.",
    help=f"Show what a task has written so far; with -f, go on until it ends.\n\n{SELECTORS}",
)
@one_task
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option(
    "--stage",
    type=click.Choice(["compile", "execute"]),
    help="Default: both; once it has ended, the one that ran last.",
)
@click.option(
    "--stream", type=click.Choice(["stdout", "stderr"]), help="Default: both, each to its own."
)
@click.option("--case", type=click.IntRange(1), help="One of its cases.  [default: all in turn]")
@click.option("--attempt", type=click.IntRange(1), help="Default: the newest.")
@click.option("--tail", type=click.IntRange(0, 10_000), help="Only so many lines of what is there.")
@click.option("--since", metavar="DURATION", help="Only what was written in this time: 10m.")
@click.option("--timestamps", is_flag=True, help="When it was written, before each line.")
@connected
def logs(connection: Connection, task: str, **options: Any) -> None:
    from khala.client import LogQuery
    from khala.model.spec import Stage
    from roles.client import acts
    from roles.client.output import Output, since_of
    from roles.client.request import duration_of

    stage = options.pop("stage")
    if options["case"] and stage == "compile":
        raise click.UsageError("--case: only the stage execute has cases; leave out --stage")
    since = since_of(duration_of(options.pop("since"), "--since"))
    alone = options["case"] is not None
    output = Output(timestamps=options.pop("timestamps"), since=since, name_cases=not alone)
    query = LogQuery(stage=Stage(stage) if stage else None, **options)
    act(connection, lambda khala: acts.logs(khala, connection, task, query, output))


@click.command(
    short_help="Why a task waits, or how it ended.",
    help=f"Say where a task stands, or how it ended and why.\n\n{SELECTORS}",
)
@one_task
@connected
def explain(connection: Connection, task: str) -> None:
    from roles.client import acts

    act(connection, lambda khala: acts.explain(khala, connection, task))


@click.command(
    short_help="What was expected, and what it wrote.",
    help="Show the difference between what was expected of a task and what it wrote: of its first"
    f" case that was not accepted, unless one is named.\n\n{SELECTORS}",
)
@one_task
@click.option("--case", type=click.IntRange(min=1), help="A case, by its number from 1.")
@connected
def diff(connection: Connection, task: str, case: int | None) -> None:
    from roles.client import acts

    act(connection, lambda khala: acts.diff(khala, connection, task, case))


@click.command(
    short_help="Wait for tasks.",
    help=f"{_WAIT}\n\n{SELECTORS}",
)
@some_tasks
@click.option("--timeout", metavar="DURATION", help="Give up waiting after this; the tasks go on.")
@connected
def wait(connection: Connection, tasks: tuple[str, ...], timeout: str | None) -> None:
    from roles.client import acts
    from roles.client.request import duration_of

    timeout_s = duration_of(timeout, "--timeout")
    act(connection, lambda khala: acts.wait(khala, connection, tasks, timeout_s))


@click.command(
    short_help="Cancel tasks.",
    help="Cancel tasks; what runs of them is killed. With --filter, all that it names, after"
    f" their number was confirmed.\n\n{SELECTORS}",
)
@click.argument("tasks", nargs=-1, metavar="TASK...", shell_complete=complete_task)
@filtered
@click.option("--yes", is_flag=True, help="Do not ask.")
@reasoned
@connected
def cancel(
    connection: Connection,
    tasks: tuple[str, ...],
    matching: str | None,
    yes: bool,
    said: Cancellation,
) -> None:
    from roles.client import acts, document_acts
    from roles.client.selectors import filter_of

    if bool(tasks) == bool(matching):
        raise click.UsageError("which tasks? give TASK or --filter, and not both")
    if matching:
        wanted = filter_of(matching)
        act(connection, lambda khala: document_acts.cancel_matching(khala, wanted, said, sure=yes))
    act(connection, lambda khala: acts.cancel(khala, connection, tasks, said))


@click.command(
    short_help="Submit tasks again.",
    help=f"Submit the same tasks again and print the new ids.\n\n{SELECTORS}",
)
@some_tasks
@connected
def rerun(connection: Connection, tasks: tuple[str, ...]) -> None:
    from roles.client import acts

    act(connection, lambda khala: acts.again(khala, connection, tasks, ended_only=False))


@click.command(
    short_help="Try tasks that have ended once more.",
    help="Try tasks that have ended once more, as new tasks, because a result never changes; print"
    f" the new ids.\n\n{SELECTORS}",
)
@some_tasks
@connected
def retry(connection: Connection, tasks: tuple[str, ...]) -> None:
    from roles.client import acts

    act(connection, lambda khala: acts.again(khala, connection, tasks, ended_only=True))


@click.command(
    short_help="Remove tasks that have ended.",
    help="Remove tasks that have ended, with their inputs, outputs and artifacts. They are gone for"
    f" good.\n\n{SELECTORS}",
)
@some_tasks
@connected
def rm(connection: Connection, tasks: tuple[str, ...]) -> None:
    from roles.client import acts

    act(connection, lambda khala: acts.forget(khala, connection, tasks))


@click.command(
    short_help="Save the files a task left.", help=f"Save the artifacts of a task.\n\n{SELECTORS}"
)
@one_task
@click.option(
    "-d", "--directory", default=".", show_default=True, help="Where to; made if missing."
)
@connected
def fetch(connection: Connection, task: str, directory: str) -> None:
    from pathlib import Path

    from roles.client import acts

    into = Path(directory)
    act(connection, lambda khala: acts.fetch(khala, connection, task, into))


COMMANDS = (
    run,
    submit,
    ls,
    get,
    describe,
    logs,
    explain,
    diff,
    wait,
    cancel,
    rerun,
    retry,
    rm,
    fetch,
    quota,
    retention,
    *PATCH_COMMANDS,
    *LIVE_COMMANDS,
    *LOAD_COMMANDS,
    *JOB_COMMANDS,
    *NODE_COMMANDS,
    *own.COMMANDS,
)
