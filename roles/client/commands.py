"""The users' commands as click sees them: options here, work in `roles.client.acts`.

Nothing heavy is imported at the top, so that `--help` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from khala.client import AsyncKhala, NewTask
    from roles.client.connection import Connection

Decorated = TypeVar("Decorated", bound=Callable[..., object])
_FORMS = ("table", "wide", "json", "jsonl", "name")
_STATES = (
    "queued",
    "starting",
    "compiling",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "error",
)


def _connected(command: Decorated) -> Decorated:
    """The options of every command of this file."""
    for option in (
        click.option(
            "--url",
            envvar="KHALA_URL",
            show_envvar=True,
            help="Gateway.  [default: http://127.0.0.1:7000]",
        ),
        click.option(
            "--token-file",
            envvar="KHALA_TOKEN_FILE",
            show_envvar=True,
            help="The gateway's token, mode 0600.",
        ),
    ):
        command = option(command)
    return command


def _formed(command: Decorated) -> Decorated:
    form = click.option("-o", "--output-format", "form", type=click.Choice(_FORMS), default="table")
    return form(command)


def _task_options(command: Decorated) -> Decorated:
    """What a task is made of, for `run` and `submit`."""
    options = (
        click.argument("command", nargs=-1, type=click.UNPROCESSED),
        click.option(
            "-f",
            "--file",
            help="A script to run; it may carry options as #KHALA lines. - is stdin.",
        ),
        click.option(
            "--compile", metavar="SCRIPT", help="A stage before: run once, in the same directory."
        ),
        click.option(
            "--source",
            multiple=True,
            metavar="PATH[:NAME]",
            help="A file or folder for the work directory; several times.",
        ),
        click.option(
            "--data", multiple=True, metavar="PATH[:NAME]", help="The same for its folder data/."
        ),
        click.option("--stdin", metavar="FILE", help="Standard input; - is this command's own."),
        click.option(
            "--env", multiple=True, metavar="NAME=VALUE", help="A variable; several times."
        ),
        click.option("--user", type=int, help="Whose task it is, as a number.  [default: 0]"),
        click.option("--name", help="For people: a name in lists; need not be unique."),
        click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label; several times."),
        click.option(
            "--priority", type=int, help="-100 to 100: a point is worth a minute of waiting."
        ),
        click.option(
            "--image", metavar="LABEL", help="Programs to run with; see the nodes' images."
        ),
        click.option(
            "--no-cache", is_flag=True, help="Compile anew, whatever an executor remembers."
        ),
        click.option(
            "--artifact",
            multiple=True,
            metavar="GLOB",
            help="Files to keep, as out/**; several times.",
        ),
        click.option("--time", metavar="DURATION", help="Wall time: 500ms, 10s, 5m, 2h, 00:10:00."),
        click.option("--cpu-time", metavar="DURATION", help="Processor time of all processes."),
        click.option("--mem", metavar="SIZE", help="Memory of all processes: 256MiB."),
        click.option("--pids", type=int, help="Processes and threads."),
        click.option("--cpus", type=float, help="Processors in use at a time."),
        click.option("--output", metavar="SIZE", help="Of stdout, and of stderr, each."),
        click.option("--file-size", metavar="SIZE", help="The largest single file."),
        click.option("--disk", metavar="SIZE", help="The work directory."),
        click.option("--compile-time", metavar="DURATION", help="Wall time of the compile stage."),
        click.option("--compile-mem", metavar="SIZE", help="Memory of the compile stage."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(short_help="Run one command, show its output, end as it did.")
@_task_options
@_connected
def run(url: str | None, token_file: str | None, **options: Any) -> None:
    """Run COMMAND as a task, wait for it, show its output, and end with its exit code.

    \b
      khala.pex run -- echo hello
      khala.pex run --source main.cpp --compile 'g++ -o main main.cpp' --stdin in.txt -- ./main
      khala.pex run -f job.sh --time 10s --mem 256MiB

    One argument is a script for bash; several are one command, word by word. Ctrl-C cancels the
    task. What Khala has to say goes to stderr.
    """
    from roles.client import acts

    task = task_with_directives(options)
    _act(url, token_file, lambda khala, connection: acts.run(khala, connection, task))


@click.command(short_help="Submit one command, print the id.")
@_task_options
@click.option("--wait", is_flag=True, help="Return when it has ended: 0 if it succeeded, else 1.")
@_connected
def submit(url: str | None, token_file: str | None, wait: bool, **options: Any) -> None:
    """Submit COMMAND as a task and print its id. Options as in `run`."""
    from roles.client import acts

    task = task_with_directives(options)
    wait_s = float("inf") if wait else None
    _act(
        url,
        token_file,
        lambda khala, connection: acts.submit(khala, connection, [task], wait_s=wait_s),
    )


@click.command(short_help="List tasks, newest first.")
@_formed
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    help="Several times for any of these.",
)
@click.option("--user", type=int)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@_connected
def ls(url: str | None, token_file: str | None, form: str, **filters: Any) -> None:
    """List tasks, newest first."""
    from khala.model.task import TaskState
    from roles.client import acts
    from roles.client.tables import Form

    filters["states"] = tuple(TaskState(state) for state in filters["states"])
    _act(url, token_file, lambda khala, _: acts.list_tasks(khala, Form(form), **filters))


_WAIT = """Return when all have ended: 0 if all succeeded, 1 if one did not, 7 after --timeout."""
_SELECTORS = """TASK is an id, its first 6 digits or more, `last` (the one submitted last from this
    account), `last~1` for the one before, or a list of these with commas."""


@click.command(
    short_help="Show tasks.", help=f"Show tasks with their measurements.\n\n{_SELECTORS}"
)
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@_formed
@_connected
def get(url: str | None, token_file: str | None, tasks: tuple[str, ...], form: str) -> None:
    from roles.client import acts
    from roles.client.tables import Form

    _act(url, token_file, lambda khala, connection: acts.get(khala, connection, tasks, Form(form)))


@click.command(
    short_help="Show what a task wrote.",
    help=f"Show what a task wrote, once it has ended.\n\n{_SELECTORS}",
)
@click.argument("task", metavar="TASK")
@click.option(
    "--stage", type=click.Choice(["compile", "execute"]), help="Default: the one that ran last."
)
@click.option(
    "--stream", type=click.Choice(["stdout", "stderr"]), help="Default: both, each to its own."
)
@_connected
def logs(
    url: str | None, token_file: str | None, task: str, stage: str | None, stream: str | None
) -> None:
    from khala.model.spec import Stage
    from roles.client import acts

    wanted = Stage(stage) if stage else None
    _act(
        url,
        token_file,
        lambda khala, connection: acts.logs(khala, connection, task, wanted, stream),
    )


@click.command(
    short_help="Why a task waits, or how it ended.",
    help=f"Say where a task stands, or how it ended and why.\n\n{_SELECTORS}",
)
@click.argument("task", metavar="TASK")
@_connected
def explain(url: str | None, token_file: str | None, task: str) -> None:
    from roles.client import acts

    _act(url, token_file, lambda khala, connection: acts.explain(khala, connection, task))


@click.command(
    short_help="Wait for tasks.",
    help=f"{_WAIT}\n\n{_SELECTORS}",
)
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@click.option("--timeout", metavar="DURATION", help="Give up waiting after this; the tasks go on.")
@_connected
def wait(
    url: str | None, token_file: str | None, tasks: tuple[str, ...], timeout: str | None
) -> None:
    from roles.client import acts
    from roles.client.request import duration_of

    timeout_s = duration_of(timeout, "--timeout")
    _act(url, token_file, lambda khala, connection: acts.wait(khala, connection, tasks, timeout_s))


@click.command(
    short_help="Cancel tasks.", help=f"Cancel tasks; what runs of them is killed.\n\n{_SELECTORS}"
)
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@_connected
def cancel(url: str | None, token_file: str | None, tasks: tuple[str, ...]) -> None:
    from roles.client import acts

    _act(url, token_file, lambda khala, connection: acts.cancel(khala, connection, tasks))


@click.command(
    short_help="Save the files a task left.", help=f"Save the artifacts of a task.\n\n{_SELECTORS}"
)
@click.argument("task", metavar="TASK")
@click.option(
    "-d", "--directory", default=".", show_default=True, help="Where to; made if missing."
)
@_connected
def fetch(url: str | None, token_file: str | None, task: str, directory: str) -> None:
    from pathlib import Path

    from roles.client import acts

    into = Path(directory)
    _act(url, token_file, lambda khala, connection: acts.fetch(khala, connection, task, into))


@click.command(short_help="Judicators and executors.")
@_formed
@_connected
def nodes(url: str | None, token_file: str | None, form: str) -> None:
    """Show the cluster's judicators and executors."""
    from roles.client import acts
    from roles.client.tables import Form

    _act(url, token_file, lambda khala, _: acts.nodes(khala, Form(form)))


COMMANDS = (run, submit, ls, get, logs, explain, wait, cancel, fetch, nodes)


def _act(
    url: str | None,
    token_file: str | None,
    work: Callable[[AsyncKhala, Connection], Awaitable[int]],
) -> None:
    from roles.client import acts
    from roles.client.connection import connection_of

    connection = connection_of(url, token_file)
    sys.exit(acts.act(connection, lambda khala: work(khala, connection)))


def task_with_directives(options: dict[str, Any]) -> NewTask:
    """The options of the command line, over those of a script's own lines."""
    from roles.client.request import Options, directives_of, read_script, task_of

    given = options
    if options["file"] and options["file"] != "-":
        directives = directives_of(read_script(options["file"]))
        if directives:
            context = run.make_context("#KHALA", [*directives, "--"], resilient_parsing=False)
            given = {
                name: context.params.get(name, value) if _is_absent(value) else value
                for name, value in options.items()
            }
    return task_of(Options(**given))


def _is_absent(value: object) -> bool:
    """As click gives an option that was not; the number 0 was."""
    return value is None or value is False or value == ()
