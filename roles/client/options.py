"""The options that several of the users' commands share, as decorators.

One definition each, so that an option means the same wherever it is given. Imports nothing but
click: `--help` must stay quick.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from khala.client import AsyncKhala
    from roles.client.connection import Connection

Decorated = TypeVar("Decorated", bound=Callable[..., object])
FORMS = ("table", "wide", "json", "jsonl", "yaml", "name")
SORTS = ("created_at", "finished_at", "priority")
STATES = (
    "queued",
    "starting",
    "compiling",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "error",
)

SELECTORS = """TASK is an id, its first 6 digits or more, `last` (the one submitted last from this
    account), `last~1` for the one before, JOB:1-100:2 for tasks of an array by their indexes, or a
    list of these with commas."""


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command a `connection` to the gateway that these options name."""

    @functools.wraps(command)
    def called(
        url: str | None, token_file: str | None, context: str | None, **options: object
    ) -> None:
        from roles.client.connection import connection_of

        command(connection=connection_of(url, token_file, context), **options)

    for option in (
        click.option(
            "--url",
            envvar="KHALA_URL",
            show_envvar=True,
            help="Gateway.  [default: that of the context, or http://127.0.0.1:7000]",
        ),
        click.option(
            "--token-file",
            envvar="KHALA_TOKEN_FILE",
            show_envvar=True,
            help="The gateway's token, mode 0600.",
        ),
        click.option(
            "--context",
            envvar="KHALA_CONTEXT",
            show_envvar=True,
            help="A gateway by the name that `context set` gave it.",
        ),
    ):
        called = option(called)
    return called


def reasoned(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command what is `said` of a cancellation."""

    @functools.wraps(command)
    def called(reason: str, by: str | None, grace: str | None, **options: object) -> None:
        from khala.model.outcome import Cancellation
        from roles.client.connection import login_name
        from roles.client.request import duration_of

        said = Cancellation(
            reason=reason,
            by=login_name() if by is None else by,
            grace_s=duration_of(grace, "--grace") or 0,
        )
        command(said=said, **options)

    for option in (
        click.option("--reason", default="", metavar="TEXT", help="Why; kept with what is ended."),
        click.option("--by", metavar="NAME", help="Who cancels.  [default: your login name]"),
        click.option(
            "--grace",
            metavar="DURATION",
            help="What runs is sent SIGTERM, and killed so long after it.  [default: at once]",
        ),
    ):
        called = option(called)
    return called


def act(connection: Connection, work: Callable[[AsyncKhala], Awaitable[int]]) -> None:
    """Do it and end with its exit code."""
    from roles.client import acts

    sys.exit(acts.act(connection, work))


def sent(command: Decorated) -> Decorated:
    """How a task is submitted, for `run` and `submit`."""
    key = click.option(
        "--idempotency-key",
        metavar="KEY",
        help="Submitted again under this key, it is the same task.",
    )
    dry_run = click.option(
        "--dry-run", is_flag=True, help="Say what would be submitted, and submit nothing."
    )
    return key(dry_run(command))


def formed(command: Decorated) -> Decorated:
    form = click.option("-o", "--output-format", "form", type=click.Choice(FORMS), default="table")
    return form(command)


def filtered(command: Decorated) -> Decorated:
    matching = click.option(
        "--filter",
        "matching",
        metavar="NAME=VALUE,...",
        help="By q, state, reason, verdict, label (hw=3), user, node, name, created_after, ...",
    )
    return matching(command)


def one_task(command: Decorated) -> Decorated:
    return click.argument("task", metavar="TASK", shell_complete=complete_task)(command)


def some_tasks(command: Decorated) -> Decorated:
    argument = click.argument(
        "tasks", nargs=-1, required=True, metavar="TASK...", shell_complete=complete_task
    )
    return argument(command)


def complete_task(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """What this account submitted, newest first; asks no gateway, because a shell waits for it."""
    from roles.client.connection import remembered_tasks

    return [word for word in ("last", *remembered_tasks()) if word.startswith(begun)]


#: What is run, where it is no command.
_SCRIPT = (
    click.option(
        "-f",
        "--file",
        help="A script to run; it may carry options as #KHALA lines. - is stdin.",
    ),
    click.option(
        "--directives",
        type=click.Choice(["khala", "sbatch"]),
        default="khala",
        help="sbatch: the script is one of Slurm's, with #SBATCH lines.",
    ),
)

#: What a task should write, and for which inputs.
_JUDGED = (
    click.option("--expect", metavar="FILE", help="What it should write; gives a verdict."),
    click.option(
        "--cases",
        metavar="DIR",
        help="Run it for each *.in there; *.out or *.ans beside it is what it should write.",
    ),
    click.option(
        "--check",
        metavar="MODE",
        help="exact, lines, tokens, float or regex.  [default: tokens]",
    ),
    click.option("--stop-on-failure", is_flag=True, help="No case after one that failed."),
)


#: How often a task is tried, and how long it waits.
_TRIES = (
    click.option("--retries", type=int, metavar="N", help="Try it so often again if it fails."),
    click.option(
        "--retry-on",
        multiple=True,
        metavar="REASON",
        help="Only after such an end: exit_nonzero, signal, memory, ...; several times.",
    ),
    click.option(
        "--retry-backoff",
        metavar="DURATION",
        help="Before the second try; doubled before each further one.  [default: 1s]",
    ),
    click.option(
        "--max-crashes",
        type=int,
        metavar="N",
        help="Give it up when so many executors were lost with it.  [default: 3]",
    ),
    click.option("--queue-ttl", metavar="DURATION", help="Give it up if it has not begun by then."),
    click.option("--retention", metavar="DURATION", help="Remove it so long after its end, as 7d."),
    click.option(
        "--after",
        multiple=True,
        metavar="TASK[:any]",
        help="Begin when that task or job has succeeded, or with :any has ended; several times.",
    ),
)


#: What its programs find.
_SURROUNDINGS = (
    click.option("--image", metavar="LABEL", help="Programs to run with; see the nodes' images."),
    click.option(
        "--network",
        metavar="NETWORK",
        help="none, loopback (of its own), or full: its executor's, where that is offered.",
    ),
)


def task_options(command: Decorated) -> Decorated:
    """What a task is made of, for `run` and `submit`."""
    options = (
        click.argument("command", nargs=-1, type=click.UNPROCESSED),
        *_SCRIPT,
        click.option(
            "--preset", metavar="NAME", help="What it begins with; see khala.pex preset ls."
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
        *_JUDGED,
        click.option(
            "--env", multiple=True, metavar="NAME=VALUE", help="A variable; several times."
        ),
        click.option(
            "--user", type=int, help="Whose task it is, as a number.  [default: one's own]"
        ),
        *_order_options(),
        *_TRIES,
        *_SURROUNDINGS,
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


def _order_options() -> tuple[Callable[[Decorated], Decorated], ...]:
    """What a task is called, how urgent it is, and where it may run."""
    return (
        click.option("--name", help="For people: a name in lists; need not be unique."),
        click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label; several times."),
        click.option(
            "--priority", type=int, help="-100 to 100: a point is worth a minute of waiting."
        ),
        click.option("--hold", is_flag=True, help="It does not begin before `release`."),
        click.option(
            "--resource",
            multiple=True,
            metavar="NAME=AMOUNT",
            help="What it takes up of its executor: cpus=2, memory=8GiB, gpu=1; several times.",
        ),
        click.option(
            "--require", multiple=True, metavar="KEY=VALUE", help="A label of executors to run on."
        ),
        click.option(
            "--avoid", multiple=True, metavar="KEY=VALUE", help="A label never to run on."
        ),
        click.option(
            "--prefer", multiple=True, metavar="KEY=VALUE", help="A label rather to run on."
        ),
        click.option("--node", metavar="NAME", help="The executor to run on, and no other."),
    )
