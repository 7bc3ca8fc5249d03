"""The command line: options out of the settings table, roles imported only when they run.

Answering `--help` and refusing a wrong flag must not cost a second, so nothing heavy is imported
at the top. Whatever goes wrong ends as one line on stderr and an exit code:

    0 done   2 refused: settings or arguments are wrong   69 not available now, try again
    70 a defect; the trace is shown with KHALA_DEBUG=1   130 interrupted
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import click

from khala.config.load import strays
from khala.config.options import Command, add_options, settings_from
from khala.config.setting import ALL
from khala.config.settings import Settings
from khala.config.table import BY_KEY
from khala.config.values import show
from khala.model.errors import KhalaError, OutcomeUnknown, Rejected, Unavailable
from khala.version import VERSION
from roles.admin.access_commands import ACCESS_COMMANDS
from roles.admin.commands import ADMIN_COMMANDS
from roles.backup.commands import backup
from roles.client.backup_commands import BACKUP_COMMANDS
from roles.client.commands import COMMANDS
from roles.client.elsewhere import add_elsewhere
from roles.recover.commands import recover
from roles.replay.commands import replay

EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 69
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130

_HELP = """Khala runs command-line tasks (compile, then execute) in sandboxes: in parallel and
durably. A task that was accepted is never lost, its result is recorded once. This one file
carries every role: judicator, executor and gateway.

\b
Try it, as root:
  khala.pex doctor                 whether this host has what the roles need
  khala.pex up                     all roles on this host; the page is http://127.0.0.1:7000
  khala.pex status                 what runs here, and how it is
  khala.pex bench                  how fast this host runs tasks

\b
A task, from any host that reaches the gateway (--url or KHALA_URL):
  khala.pex run -- echo hello
  khala.pex run --source main.cpp --compile 'g++ -o main main.cpp' --stdin in.txt -- ./main

\b
The same with curl, as KV2's clients do:
  curl -s http://127.0.0.1:7000/api/task -F user=0 -F compile_command= -F compile_timeout=10 \\
    -F execute_command='echo hello' -F execute_timeout=1 -F execute_input= -F execute_standard=
  curl -s 'http://127.0.0.1:7000/api/v2/tasks/ID?wait=30s'

\b
A second one on the same host:
  khala.pex up --name b --data-dir /srv/b --http-port 7100 --rpc-port 4100 \\
    --mongodb-port 3100 --etcd-peer-port 2100 --etcd-client-port 2101

Every option can also be a variable (--rpc-port is KHALA_RPC_PORT) or a line of a TOML file
(--config). `khala.pex config` shows each value and where it comes from, `khala.pex COMMAND --help`
the options of a command.
"""


_OF_USERS = (*COMMANDS, replay)


class _Group(click.Group):
    """Lists commands by what they are for, in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        users = {command.name for command in _OF_USERS}
        for title, of_users in (("Tasks (any host)", True), ("Roles and operations", False)):
            rows = [
                (name, command.get_short_help_str(80))
                for name, command in self.commands.items()
                if not command.hidden and (name in users) == of_users
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(
    cls=_Group,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, prog_name="khala")
def cli() -> None:
    """Overridden by `_HELP`."""


for _command in _OF_USERS:
    cli.add_command(_command)


def _start(role: str, options: dict[str, object]) -> tuple[Settings, bool]:
    """Settings of a command that runs, with its log set up; and whether KV2's flag to make a
    cluster was among them."""
    result = settings_from(role, options)
    settings = result.settings
    for note in result.notes:
        click.echo(f"khala: {note}", err=True)
    from khala.model.limits import check_timers
    from khala.obs.log import LogOptions, setup

    check_timers()
    log = LogOptions(level=settings.log.level, form=settings.log.format, file=settings.log.file)
    setup({"role": role, "name": settings.name, "version": VERSION}, log)
    return settings, result.founds


_init = click.option(
    "--init",
    is_flag=True,
    help="Make a new cluster, with an authority of its own and certificates on every link, that"
    " other hosts can join; refuses a directory that has data.",
)


def _init_or_refuse(settings: Settings, *, init: bool) -> None:
    if init and (Path(settings.data_dir) / "node.json").exists():
        raise Rejected(
            f"--init: {settings.data_dir} belongs to a cluster already; leave out --init to"
            " continue it, or give an empty --data-dir",
            field="--init",
        )
    if init and settings.join:
        raise Rejected(
            "--init: makes a new cluster, --join enters another; give one of them", field="--init"
        )


@add_options("up")
@cli.command(cls=Command, short_help="All roles on this host.")
@_init
def up(init: bool, **options: object) -> None:
    """Run a judicator, an executor and a gateway here, until Ctrl-C.

    Prints one line with the URL when a task would be accepted. Data stays in --data-dir; a second
    `up` finds all tasks again. Needs root, for the sandbox.
    """
    settings, _ = _start("up", options)
    _init_or_refuse(settings, init=init)
    from roles.up.app import run

    sys.exit(run(settings, init=init))


@add_options("judicator")
@cli.command(cls=Command, short_help="The managing role: etcd, MongoDB, dispatch.")
@_init
def judicator(init: bool, **options: object) -> None:
    """Run a judicator: its etcd member, its MongoDB member, and the process that accepts,
    dispatches and records tasks.

    \b
    The first of a cluster of several hosts, and then the others, one by one:
      khala.pex judicator --init --advertise 10.0.0.1
      khala.pex token create --role judicator        (on that host; copy the token)
      khala.pex judicator --join 10.0.0.1 --join-token-file FILE --advertise 10.0.0.2

    Without --init and --join, the first start makes a cluster for this host alone: its processes
    share a secret, and nothing but the gateway can be reached from elsewhere. Later starts continue
    what is in --data-dir; give them the same --advertise."""
    settings, founds = _start("judicator", options)
    _init_or_refuse(settings, init=init)
    from roles.judicator.app import run

    sys.exit(run(settings, init=init or founds))


@add_options("judicator")
@cli.command("judicator-serve", hidden=True)
@click.option("--cluster", required=True)
@click.option("--watchdog-fd", type=int)
def judicator_serve(cluster: str, watchdog_fd: int | None, **options: object) -> None:
    """The serving process; started by `judicator`."""
    settings, _ = _start("judicator", options)
    from roles.judicator.launch import run

    sys.exit(run(settings, cluster, watchdog_fd))


@add_options("executor")
@cli.command(cls=Command, short_help="The working role: runs tasks in sandboxes.")
def executor(**options: object) -> None:
    """Run an executor. Needs root, or a delegated cgroup; refuses to start where limits cannot be
    enforced, and says what is missing."""
    settings, _ = _start("executor", options)
    from roles.executor.app import run

    sys.exit(run(settings))


@add_options("gateway")
@cli.command(cls=Command, short_help="The public role: HTTP API and page.")
def gateway(**options: object) -> None:
    """Run a gateway: KV2's /api, /api/v2 and the page."""
    settings, _ = _start("gateway", options)
    from roles.gateway.launch import run

    sys.exit(run(settings))


@add_options("status")
@cli.command(cls=Command, short_help="What runs on this host.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool, **options: object) -> None:
    """Show the processes of this data directory and the cluster as its judicator sees it.

    Exit code 0 if tasks are accepted, 69 if not."""
    settings, _ = _start("status", options)
    from roles.status.app import run

    sys.exit(run(settings, as_json=as_json))


@add_options("doctor")
@cli.command(cls=Command, short_help="What this host lacks, and how to repair it.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(ALL),
    multiple=True,
    help="Only what this role needs; may be repeated.",
)
@click.option("--no-jail", is_flag=True, help="Leave out what opens a sandbox.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(roles: tuple[str, ...], no_jail: bool, as_json: bool, **options: object) -> None:
    """Check by trying whether the roles can run on this host, and print what repairs it.

    Changes nothing and may run beside a running Khala; takes about two seconds. Give it the
    options and the user that the roles will have. Exit code 0 if every role can run (there may be
    warnings), 69 if something is missing that one of them needs."""
    settings, _ = _start("doctor", options)
    from roles.doctor.app import run

    sys.exit(run(settings, roles, as_json=as_json, jail=not no_jail))


@add_options("bench")
@cli.command(cls=Command, short_help="How fast this host runs tasks.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--quick", is_flag=True, help="A sixth of the time; to try it, not for numbers.")
def bench(as_json: bool, quick: bool, **options: object) -> None:
    """Measure the bare sandbox, tasks through HTTP, and the control plane alone, in one run.

    Starts its own Khala on free ports in a temporary directory. Needs root; takes about a minute.
    """
    settings, _ = _start("bench", options)
    from roles.bench.app import Options, run

    sys.exit(run(Options(json=as_json, quick=quick, slots=settings.executor.slots)))


@add_options("config")
@cli.command(cls=Command, short_help="Every setting and where its value comes from.")
@click.option("--check", is_flag=True, help="Print nothing but what is wrong.")
@click.option("--reference", is_flag=True, help="Print a reference of all settings, in Markdown.")
def config(check: bool, reference: bool, **options: object) -> None:
    """Print value and origin of every setting. Exit code 2 for what a role would refuse.

    Values are printed as they are: secrets are in files, and settings only name those."""
    if reference:
        from khala.config.document import render

        click.echo(render(), nl=False)
        return
    result = settings_from("config", options)
    for stray in strays(os.environ):
        click.echo(f"khala: {stray}", err=True)
    if check:
        return
    rows = [
        (key, show(BY_KEY[key].kind, origin.value) or "-", origin.source)
        for key, origin in result.origins.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for key, value, source in rows:
        click.echo(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {source}")


@cli.command(short_help="The version.")
def version() -> None:
    """Print the version."""
    click.echo(f"khala {VERSION}")


for _command in (*ACCESS_COMMANDS, *ADMIN_COMMANDS, recover, backup):
    cli.add_command(_command)
for _command in BACKUP_COMMANDS:
    backup.add_command(_command)
add_elsewhere(cli)


def main() -> None:
    """Entry point of the file: errors become one line and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_REFUSED)
    except BaseExceptionGroup as group:
        _fail(_first(group))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the process's outermost edge
        _fail(error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that made a task group end."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        sys.exit(EXIT_INTERRUPTED)
    if isinstance(error, BrokenPipeError) and _stdout_is_gone():
        sys.exit(0)
    if os.environ.get("KHALA_DEBUG") == "1":
        raise error
    if isinstance(error, Rejected):
        code, text = EXIT_REFUSED, error.message
    elif isinstance(error, Unavailable | OutcomeUnknown):
        code, text = EXIT_UNAVAILABLE, error.message
    else:
        what = error.message if isinstance(error, KhalaError) else str(error)
        text = f"a defect: {type(error).__name__}: {what} (KHALA_DEBUG=1 shows the trace)"
        code = EXIT_DEFECT
    click.echo(f"khala: {text}", err=True)
    sys.exit(code)


def _stdout_is_gone() -> bool:
    """True after `khala.pex config | head -1`; what is left to print is then dropped."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
