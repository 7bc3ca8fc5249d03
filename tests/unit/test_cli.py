"""The command line as people meet it: help, refusals in one line, exit codes."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from khala.cli import main
from khala.config.setting import ALL
from khala.config.settings import Settings
from khala.config.table import settings_of
from khala.config.values import show
from khala.model.errors import InvariantBroken, KhalaError, OutcomeUnknown, Rejected, Unavailable
from khala.version import VERSION

#: What costs more to import than `--help` may take.
HEAVY = (
    "aiohttp",
    "asyncio",
    "grpc",
    "pymongo",
    "sanic",
    "sandbox",
    "structlog",
    "uvloop",
)

#: Commands are declared beside their work, which is loaded when one runs.
ROLES_OF_COMMANDS = {
    "roles.admin",
    "roles.admin.access_commands",
    "roles.admin.commands",
    "roles.backup",
    "roles.backup.commands",
    "roles.client",
    "roles.client.backup_commands",
    "roles.client.commands",
    "roles.client.elsewhere",
    "roles.client.job_commands",
    "roles.client.live_commands",
    "roles.client.load_commands",
    "roles.client.node_commands",
    "roles.client.patch_commands",
    "roles.client.quota_commands",
    "roles.client.retention_commands",
    "roles.client.options",
    "roles.client.own",
    "roles.recover",
    "roles.recover.commands",
    "roles.replay",
    "roles.replay.commands",
}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Exit code, stdout and stderr of a command line in this process, logging undone after."""
    for name in ("KHALA_CONFIG", "KHALA_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    handlers, level = logging.root.handlers[:], logging.root.level

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["khala.pex", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert isinstance(code, int | None)
        return code or 0, out, err

    yield run
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def replace_role(
    monkeypatch: pytest.MonkeyPatch, module: str, function: Callable[..., int]
) -> None:
    """What a command starts is not what is tested here."""
    stand_in = types.ModuleType(module)
    stand_in.__dict__["run"] = function
    monkeypatch.setitem(sys.modules, module, stand_in)


class Role:
    """Stands in for a role: keeps the settings it is run with."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.seen: list[Settings] = []

    def run(self, settings: Settings, **_: bool) -> int:
        self.seen.append(settings)
        return self.code


def one_line(err: str) -> str:
    assert err.startswith("khala: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("khala: ").rstrip("\n")


def python_m_khala(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "khala", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_teaches() -> None:
    result = python_m_khala("--help")
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("khala.pex up", "khala.pex status", "curl", "--config", *ALL):
        assert word in result.stdout
    assert "judicator-serve" not in result.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv[1:] = ['up', '--help']\n"
        "from khala.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
        "print(*{name for name in sys.modules if name.startswith('roles.')}, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "--data-dir" in result.stdout
    loaded = set(result.stderr.split())
    assert loaded.isdisjoint(HEAVY)
    assert {name for name in loaded if name.startswith("roles.")} == ROLES_OF_COMMANDS


def test_version(run: Run) -> None:
    assert run("version") == (0, f"khala {VERSION}\n", "")
    assert VERSION in run("--version")[1]


@pytest.mark.parametrize("command", ["up", *ALL, "status", "doctor", "bench", "config"])
def test_the_help_of_a_command_has_its_settings_and_none_of_kv2(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    shown = set(re.findall(r"^  (--[a-z-]+)", out, re.MULTILINE))
    assert {setting.flag for setting in settings_of(command)} <= shown
    assert not any(flag.startswith(("--main-", "--uwsgi-", "--etcd-cluster-")) for flag in shown)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--rpc-port", "70000"], ["--rpc-port: from 1 to 65535; 70000 was given"]),
        (["up", "--slots", "many"], ["--slots", "'many'"]),
        (["up", "--bind", "0.0.0.0"], ["--bind: 0.0.0.0", "--advertise"]),
        (["up", "--init", "--join", "a", "--data-dir", "/d"], ["--init: ", "--join"]),
        (["gateway", "--http-bind", "0.0.0.0"], ["--http-bind: 0.0.0.0", "--token-file"]),
        (["up", "--config", "/nowhere.toml"], ["--config: /nowhere.toml cannot be read"]),
        (["up", "--log-file", "/nowhere/log"], ["--log-file: /nowhere/log cannot be written"]),
        (["judicator", "clean", "--retry-times=3"], ["clean: Khala never deletes", "--data-dir"]),
        (["executor", "--main-task-vacant=0"], ["--main-task-vacant: from 1"]),
    ],
)
def test_a_refusal_is_one_line_and_code_2(run: Run, arguments: list[str], words: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    # What KV2's flags became is said before.
    line = one_line(err.splitlines(keepends=True)[-1])
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    "arguments", [["up", "--prot", "1"], ["upp"], ["gateway", "extra"], ["up", "--slots"], []]
)
def test_wrong_usage_is_code_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert re.search("^(Usage|Error): ", err)
    assert "Traceback" not in err


def test_settings_reach_the_role(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    role = Role(code=7)
    replace_role(monkeypatch, "roles.gateway.launch", role.run)
    monkeypatch.setenv("KHALA_HTTP_PORT", "7101")
    code, _, err = run("gateway", "--join", "a:1", "--join", "b,c:3", "--uwsgi-processes=4")
    assert code == 7
    assert one_line(err).startswith("--uwsgi-processes is KV2's")
    assert role.seen[0].join == ("a:1", "b:4000", "c:3")
    assert role.seen[0].gateway.port == 7101


def test_what_a_process_hands_to_its_child_is_what_it_has(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roles.command import command

    parent, child = Role(), Role()
    replace_role(monkeypatch, "roles.up.app", parent.run)
    replace_role(monkeypatch, "roles.executor.app", child.run)
    run("up", "--drain", "1d", "--expose", "/a,/b", "--compile-cache", "300M", "--data-dir", "/d d")
    argv = command("executor", parent.seen[0])
    assert argv[:4] == (sys.executable, "-m", "khala", "executor")
    run(*argv[3:])
    assert child.seen == parent.seen


def test_init_refuses_the_data_of_a_cluster(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inits: list[bool] = []

    def note(_: Settings, *, init: bool) -> int:
        inits.append(init)
        return 0

    replace_role(monkeypatch, "roles.judicator.app", note)
    arguments = ("judicator", "--data-dir", str(tmp_path))
    assert run(*arguments, "--init")[0] == 0
    (tmp_path / "node.json").write_text("{}")
    assert run(*arguments)[0] == 0
    assert run(*arguments, "--etcd-cluster-init-independent")[0] == 0
    assert inits == [True, False, True]
    code, _, err = run(*arguments, "--init")
    assert code == 2
    assert one_line(err).startswith(f"--init: {tmp_path} belongs to a cluster already")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Rejected("--x: no"), 2, "--x: no"),
        (Unavailable("not now"), 69, "not now"),
        (OutcomeUnknown("who knows"), 69, "who knows"),
        (InvariantBroken("1 is 2"), 70, "a defect: InvariantBroken: 1 is 2 (KHALA_DEBUG=1"),
        (ValueError("hm"), 70, "a defect: ValueError: hm (KHALA_DEBUG=1 shows the trace)"),
        (BrokenPipeError("a peer"), 70, "a defect: BrokenPipeError: a peer"),
        (ExceptionGroup("g", [ExceptionGroup("h", [Unavailable("deep")])]), 69, "deep"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_end_as_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, line: str
) -> None:
    def fail(_: Settings, **__: bool) -> int:
        raise error

    replace_role(monkeypatch, "roles.up.app", fail)
    got, out, err = run("up")
    assert (got, out) == (code, "")
    assert one_line(err).startswith(line)
    monkeypatch.setenv("KHALA_DEBUG", "1")
    with pytest.raises(KhalaError if isinstance(error, ExceptionGroup) else type(error)):
        run("up")


def test_ctrl_c_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Settings, **__: bool) -> int:
        raise KeyboardInterrupt

    def interrupt_group(_: Settings, **__: bool) -> int:
        raise BaseExceptionGroup("g", [KeyboardInterrupt(), asyncio.CancelledError()])

    for function in (interrupt, interrupt_group):
        replace_role(monkeypatch, "roles.up.app", function)
        code, out, err = run("up")
        assert (code, out, err.strip()) == (130, "", "")


def test_config_shows_values_and_origins(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "khala.toml"
    file.write_text("[executor]\nslots = 3\n")
    monkeypatch.setenv("KHALA_WALL_MAX", "90m")
    monkeypatch.setenv("KHALA_SLOT", "4")
    code, out, err = run("config", "--config", str(file), "--http-port", "7100")
    rows = {row[0]: row[1:] for row in (line.split(maxsplit=2) for line in out.splitlines())}
    assert code == 0
    assert set(rows) == {setting.key for setting in settings_of("config")}
    assert rows["executor.slots"] == ["3", f"{file}: executor.slots"]
    assert rows["limits.wall_max"] == ["90m", "KHALA_WALL_MAX"]
    assert rows["gateway.port"] == ["7100", "--http-port"]
    assert rows["rpc.port"] == ["4000", "default"]
    assert one_line(err) == "KHALA_SLOT is not a setting; did you mean KHALA_SLOTS?"


def test_config_check_says_only_what_is_wrong(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "khala.toml"
    file.write_text("[rpc]\nport = 4100\n")
    assert run("config", "--check", "--config", str(file)) == (0, "", "")
    file.write_text("[rpc]\nprot = 4100\n")
    code, _, err = run("config", "--check", "--config", str(file))
    assert code == 2
    assert "did you mean rpc.port?" in one_line(err)


def test_config_shows_the_file_of_a_secret_never_the_secret(run: Run, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef-hidden")
    _, out, _ = run("config", "--token-file", str(token))
    assert str(token) in out
    assert "hidden" not in out


def test_a_reader_that_leaves_is_no_error() -> None:
    script = f"set -o pipefail; {sys.executable} -m khala config --reference | head -n 1"
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "## General\n", "")


def test_numbers_in_help_are_written_as_people_write_them(run: Run) -> None:
    out = run("up", "--help")[1]
    for setting in settings_of("up"):
        if setting.default_text is None and setting.default is not None:
            assert show(setting.kind, setting.default) in out
