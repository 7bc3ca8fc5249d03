"""The command line: options out of the settings table, roles imported only when they run.

Answering `--help` and refusing a wrong flag must not cost a second, so nothing heavy is imported
at the top. Whatever goes wrong ends as one line on stderr and an exit code:

    0 done   2 refused: settings or arguments are wrong   69 not available now, try again
    70 a defect; the trace is shown with KHALA_DEBUG=1   130 interrupted
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from khala.config.load import load
from khala.config.settings import Settings
from khala.config.table import BY_KEY, Setting, settings_of
from khala.config.values import show
from khala.model.errors import KhalaError, Rejected, Unavailable
from khala.version import VERSION

EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 69
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130

_HELP = """Khala runs command-line tasks (compile, then execute) in sandboxes: in parallel,
durably, on one host or many. This one file carries every role.

\b
Try it:
  khala.pex up                      all roles on this host, page on http://127.0.0.1:7000
  khala.pex status                  what runs here, and how it is
  khala.pex bench                   how fast this host runs tasks

\b
A task, with curl:
  curl -s http://127.0.0.1:7000/api/task -F user=0 -F compile_command= -F compile_timeout=10 \\
    -F execute_command='echo hello' -F execute_timeout=1 -F execute_input= -F execute_standard=

Every option can also be a variable (--rpc-port is KHALA_RPC_PORT) or a line of a TOML file
(--config). `khala.pex config` shows each value and where it comes from.
"""


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="khala")
def cli() -> None:
    """Overridden by `_HELP`."""


def _options(role: str) -> Callable[[click.Command], click.Command]:
    """Give a command the options of `role`, in the table's order."""

    def add(command: click.Command) -> click.Command:
        for setting in settings_of(role):
            command.params.append(_option(setting))
        command.params.append(
            click.Option(
                ["--config", "config_path"],
                metavar="FILE",
                help="TOML file, or directory of them.  [env: KHALA_CONFIG]",
            )
        )
        return command

    return add


def _option(setting: Setting) -> click.Option:
    default = setting.default_text or show(setting.kind, setting.default)
    hint = f"  [default: {default}]" if default else ""
    return click.Option(
        [setting.flag, setting.key.replace(".", "__")],
        metavar=setting.kind.upper(),
        help=setting.help + hint,
    )


def _settings(options: dict[str, object]) -> Settings:
    flags = {key: options.get(key.replace(".", "__")) for key in BY_KEY}
    config = options.get("config_path")
    settings, _ = load(flags, os.environ, str(config) if config else None)
    return settings


def _start(role: str, options: dict[str, object]) -> Settings:
    """Settings of a long-running process, with its log set up."""
    from khala.obs.log import setup

    settings = _settings(options)
    setup(role, settings.log.level, settings.log.format)
    return settings


@_options("up")
@cli.command(short_help="All roles on this host.")
def up(**options: object) -> None:
    """Run a judicator, an executor and a gateway here, until Ctrl-C.

    Prints one line with the URL when a task would be accepted. Data stays in --data-dir; a second
    `up` finds all tasks again. Needs root, for the sandbox.
    """
    from roles.up.app import run

    sys.exit(run(_settings(options)))


@_options("judicator")
@cli.command(short_help="The managing role: etcd, MongoDB, dispatch.")
def judicator(**options: object) -> None:
    """Run a judicator: its etcd member, its MongoDB member, and the process that accepts,
    dispatches and records tasks. The first start makes the cluster and its secret."""
    settings = _start("judicator", options)
    from roles.judicator.app import run

    sys.exit(run(settings))


@_options("judicator")
@cli.command("judicator-serve", hidden=True)
@click.option("--cluster", required=True)
@click.option("--watchdog-fd", type=int)
def judicator_serve(cluster: str, watchdog_fd: int | None, **options: object) -> None:
    """The serving process; started by `judicator`."""
    settings = _start("judicator", options)
    from roles.judicator.launch import run

    sys.exit(run(settings, cluster, watchdog_fd))


@_options("executor")
@cli.command(short_help="The working role: runs tasks in sandboxes.")
def executor(**options: object) -> None:
    """Run an executor. Needs root and cgroups; refuses to start where the sandbox cannot be
    enforced, and says what is missing."""
    settings = _start("executor", options)
    from roles.executor.app import run

    sys.exit(run(settings))


@_options("gateway")
@cli.command(short_help="The public role: HTTP API and page.")
def gateway(**options: object) -> None:
    """Run a gateway: KV2's /api, /api/v2 and the page."""
    settings = _start("gateway", options)
    from roles.gateway.launch import run

    sys.exit(run(settings))


@_options("status")
@cli.command(short_help="What runs on this host.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool, **options: object) -> None:
    """Show the processes of this data directory and the cluster as its judicator sees it.

    Exit code 0 if tasks are accepted, 69 if not."""
    from roles.status.app import run

    sys.exit(run(_settings(options), as_json=as_json))


@_options("bench")
@cli.command(short_help="How fast this host runs tasks.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--quick", is_flag=True, help="A sixth of the time; to try it, not for numbers.")
def bench(as_json: bool, quick: bool, **options: object) -> None:
    """Measure the bare sandbox, tasks through HTTP, and the control plane alone, in one run.

    Starts its own Khala on free ports in a temporary directory. Needs root; takes about a minute.
    """
    from roles.bench.app import Options, run

    sys.exit(run(Options(json=as_json, quick=quick, slots=_settings(options).executor.slots)))


@_options("config")
@cli.command(short_help="Every setting and where its value comes from.")
def config(**options: object) -> None:
    """Print value and origin of every setting; refuses what a role would refuse."""
    flags = {key: options.get(key.replace(".", "__")) for key in BY_KEY}
    path = options.get("config_path")
    _, origins = load(flags, os.environ, str(path) if path else None)
    width = max(map(len, origins))
    for key, origin in origins.items():
        value = show(BY_KEY[key].kind, origin.value)
        click.echo(f"{key:<{width}}  {value or '-':<24}  {origin.source}")


@cli.command(short_help="The version.")
def version() -> None:
    """Print the version."""
    click.echo(f"khala {VERSION}")


def main() -> None:
    """Entry point of the file: errors become one line and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_REFUSED)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except BaseExceptionGroup as group:
        _fail(_first(group))
    except Exception as error:  # noqa: BLE001 - the outermost boundary of the process
        _fail(error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that made a task group end."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: BaseException) -> None:
    if os.environ.get("KHALA_DEBUG") == "1":
        raise error
    if isinstance(error, Rejected):
        click.echo(f"khala: {error.message}", err=True)
        sys.exit(EXIT_REFUSED)
    if isinstance(error, Unavailable):
        click.echo(f"khala: {error.message}", err=True)
        sys.exit(EXIT_UNAVAILABLE)
    text = error.message if isinstance(error, KhalaError) else f"{type(error).__name__}: {error}"
    click.echo(f"khala: a defect: {text} (KHALA_DEBUG=1 shows the trace)", err=True)
    sys.exit(EXIT_DEFECT)
