"""What is no command line is refused in one line that says what would be one, by no traceback and
before anybody is asked: there is no gateway at this address."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from khala.cli import cli, main
from khala.model.errors import Rejected
from khala.model.limits import KEY_CHARS
from roles.client.request import Options, key_of, task_of
from roles.client.tables import Form, columns_of

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("KHALA_URL", NOWHERE)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("events nonsense", "TOPIC: tasks, nodes, queue, task:TASK or job:JOB is expected"),
        ("events task:", "TOPIC: "),
        ("events task:zz", "'zz' names no task"),
        ("events task:last", "has submitted no task"),
        ("events --label course", "--label: KEY=VALUE is expected, 'course' was given"),
        ("events --count 0", "--count"),
        ("events --user -1", "--user"),
        ("ls --columns id,nope", "--columns: 'nope' is none; there are id, name, state"),
        ("ls --columns ''", "--columns: '' is none"),
        ("ls --columns id -o json", "--columns: a table has columns, -o json has none"),
        ("ls --looks 2", "--looks: how often --watch shows the list; add --watch"),
        ("ls --watch -o json", "--watch: -o json is one document, which never ends; take -o jsonl"),
        ("ls --watch --looks 0", "--looks"),
        ("logs last --case 0", "--case"),
        ("logs last --case 1 --stage compile", "--case: only the stage execute has cases"),
        ("diff last --case x", "--case"),
        ("open zz", "'zz' names no task"),
        ("cancel last --grace soon", "--grace: "),
        ("job cancel last --grace -1", "--grace: a duration from 0s on, such as"),
        ("ls --sort user", "--sort"),
        ("run --hold true", "--hold: `run` waits for the end"),
        ("run --dry-run", "a command is missing; try: run -- echo hello"),
        ("submit --idempotency-key '' true", "--idempotency-key: 1 to 128 printable ASCII"),
        ("run --idempotency-key '\a' true", "--idempotency-key: 1 to 128 printable ASCII"),
        ("submit --node a --require executor=b true", "--node: 'a' and --require executor=b"),
    ],
)
def test_nonsense_is_refused_in_a_line(
    line: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["khala.pex", *shlex.split(line)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, ""), err
    assert says in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command", ["events", "open", "ls", "logs", "diff", "run", "submit", "top"]
)
def test_help_teaches(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage: " in done.output


@pytest.mark.parametrize("key", ["", "ä", "a\nb", "a\x00", "k" * (KEY_CHARS + 1)])
def test_a_key_that_cannot_be_sent(key: str) -> None:
    with pytest.raises(Rejected, match="--idempotency-key: 1 to 128"):
        key_of(key)


@pytest.mark.parametrize("key", [None, "k", "build 17", "~" * KEY_CHARS])
def test_a_key_that_can(key: str | None) -> None:
    assert key_of(key) == key


def test_a_node_is_a_label_that_is_required() -> None:
    task = task_of(Options(command=("true",), node="exec-07", require=("zone=a",)))
    assert task.placement is not None
    assert task.placement.require == {"zone": "a", "executor": "exec-07"}
    again = task_of(Options(command=("true",), node="a", require=("executor=a",)))
    assert again.placement is not None
    assert again.placement.require == {"executor": "a"}


def test_columns_are_those_that_are_named_in_their_order() -> None:
    assert columns_of("state, ID,verdict", Form.TABLE) == ["STATE", "ID", "VERDICT"]
    assert len(columns_of(None, Form.WIDE)) > len(columns_of(None, Form.TABLE))
    assert columns_of(None, Form.TABLE, "priority")[-1] == "PRIORITY"
    assert columns_of("id", Form.TABLE, "priority") == ["ID"]
