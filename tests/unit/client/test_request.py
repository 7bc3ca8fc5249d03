"""From options and script lines to the document of a task."""

from __future__ import annotations

import io
import zipfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from khala.cli import cli
from khala.client import ArtifactsOf, Limits, NewTask, Source, StageOf
from khala.model.errors import Rejected
from roles.client.commands import run
from roles.client.directives import PREFIX, with_directives
from roles.client.request import Options, directives_of, parse_duration, task_of


def test_a_document_holds_what_was_given_and_nothing_else() -> None:
    task = NewTask(
        execute=StageOf("./main", Limits(wall_s="2s", pids=8), {"A": "1"}),
        sources=(Source("main.py", b"print()"), Source("x.bin", b"\xff"), Source("", b"PK", "zip")),
        stdin=b"in",
        cache=False,
        network="none",
        artifacts=ArtifactsOf(("*.log",), max_files=3),
    )
    document = task.document()
    assert document == {
        "env": {},
        "stages": {
            "execute": {
                "command": "./main",
                "limits": {"wall_s": "2s", "pids": 8},
                "env": {"A": "1"},
            }
        },
        "sources": [
            {"path": "main.py", "text": "print()"},
            {"path": "x.bin", "base64": "/w=="},
            {"path": "", "text": "PK", "unpack": "zip"},
        ],
        "stdin": {"text": "in"},
        "cache": "off",
        "network": "none",
        "artifacts": {"collect": ("*.log",), "max_files": 3},
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("500ms", 0.5), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("01:02:03", 3723)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("option", ["time", "cpu_time", "compile_time"])
@pytest.mark.parametrize("text", ["soon", "10x", "", "1:x", "-1:00", "1:-5", "nan", "1e999", "-1h"])
def test_other_durations_name_their_option(option: str, text: str) -> None:
    with pytest.raises(Rejected) as refused:
        task_of(msgspec.convert({"command": ["true"], "compile": "true", option: text}, Options))
    assert refused.value.field == "--" + option.replace("_", "-")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("node drain e --deadline -1h", "--deadline: a duration from 0s to 7d, such as"),
        ("node drain e --deadline 8d", "--deadline: a duration from 0s to 7d, such as"),
        ("stats --since -1h", "--since: a duration from 1s to 500d, such as"),
        ("stats --since 0", "--since: a duration from 1s to 500d, such as"),
        ("wait last --timeout -1", "--timeout: a duration from 0s on, such as"),
        ("top -n -2s", "--interval: a duration from 0s on, such as"),
    ],
)
def test_a_length_of_time_is_refused_before_anybody_is_asked(command: str, words: str) -> None:
    refused = CliRunner().invoke(cli, [*command.split(), "--url", "http://127.0.0.1:1"])
    assert isinstance(refused.exception, Rejected)
    assert refused.exception.message.startswith(words)
    assert refused.exception.message.endswith(f"'{command.rsplit(maxsplit=1)[-1]}' was given")


def test_words_stay_words_and_one_argument_is_a_script() -> None:
    execute = task_of(Options(command=("echo", "a b", "$HOME"))).execute
    assert execute is not None
    assert execute.command == "echo 'a b' '$HOME'"
    execute = task_of(Options(command=("echo a | wc",))).execute
    assert execute is not None
    assert execute.command == "echo a | wc"


def test_a_folder_travels_as_an_archive_without_its_links(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "link").symlink_to("/etc/passwd")
    [source] = task_of(Options(command=("true",), source=(f"{tmp_path}:lib",))).document()[
        "sources"
    ]
    assert (source["path"], source["unpack"]) == ("lib", "zip")
    data = b64decode(source["base64"]) if "base64" in source else source["text"].encode()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["sub/a.txt"]


def test_a_file_keeps_its_name_or_gets_another(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text("1")
    task = task_of(Options(command=("true",), source=(str(file), f"{file}:src/n.py")))
    assert [source.path for source in task.sources] == ["m.py", "src/n.py"]


def test_what_can_be_run_can_be_run_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task sees nothing of this folder, and whoever types `-- ./sim.sh` means the one here."""
    monkeypatch.chdir(tmp_path)
    Path("sim.sh").write_text("#!/bin/sh\n")
    Path("sim.sh").chmod(0o755)
    [source] = task_of(Options(command=("./sim.sh", "1"))).sources
    [entry] = zipfile.ZipFile(io.BytesIO(source.content)).infolist()
    assert (source.unpack, entry.filename) == ("zip", "sim.sh")
    assert entry.external_attr >> 16 & 0o111
    for other in (
        Options(command=("./missing",)),
        Options(command=("./sim.sh",), compile="true"),
        Options(command=("./../sim.sh",)),
        Options(command=("sim.sh",)),
    ):
        assert task_of(other).sources == ()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (Options(), "command"),
        (Options(command=("true",), source=("/nowhere/x",)), "--source"),
        (Options(command=("true",), stdin="/nowhere/x"), "--stdin"),
        (Options(command=("true",), env=("A",)), "--env"),
    ],
)
def test_what_cannot_be_is_named(options: Options, word: str) -> None:
    with pytest.raises(Rejected) as refused:
        task_of(options)
    assert word in refused.value.message


def test_directives_end_with_the_first_command() -> None:
    script = "#!/bin/sh\n\n#KHALA --time 5s\n# KHALA -x\n  #KHALA --env 'A=b c'\ntrue\n#KHALA -y\n"
    assert directives_of(script, PREFIX) == ["--time", "5s", "--env", "A=b c"]
    with pytest.raises(Rejected):
        directives_of("#KHALA --env 'A\n", PREFIX)


def task_given(*arguments: str) -> NewTask:
    """What `run` makes of them."""
    given = with_directives(run, run.make_context("run", list(arguments)).params)
    return task_of(Options(**{name: given[name] for name in Options.__struct_fields__}))


def test_a_zero_on_the_command_line_wins_over_the_script(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#KHALA --user 7 --no-cache\ntrue\n")
    task = task_given("-f", str(script), "--user", "0")
    assert (task.user, task.cache) == (0, False)


def test_how_often_it_is_tried_and_how_long_it_waits() -> None:
    given = Options(
        command=("true",),
        retries=2,
        retry_on=("signal,memory", "wall_time"),
        retry_backoff="500ms",
        max_crashes=1,
        queue_ttl="1h",
        after=("a:any,b", "c"),
    )
    document = task_of(given).document()
    assert document["retry"] == {
        "max_attempts": 3,
        "on": ("signal", "memory", "wall_time"),
        "backoff_s": 0.5,
    }
    assert (document["max_crashes"], document["queue_ttl_s"]) == (1, 3600)
    assert document["depends_on"] == [
        {"id": "a", "on": "any"},
        {"id": "b", "on": "ok"},
        {"id": "c", "on": "ok"},
    ]
    plain = task_of(Options(command=("true",))).document()
    assert not plain.keys() & {"retry", "max_crashes", "queue_ttl_s"}


@pytest.mark.parametrize("given", [{"retry_on": ("signal",)}, {"retry_backoff": "1s"}])
def test_when_to_retry_needs_how_often(given: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="--retries"):
        task_of(Options(command=("true",), **given))
