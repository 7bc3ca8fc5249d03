"""What a task of KV2 meets when it runs, and how its end is told."""

from __future__ import annotations

import io
import time
import zipfile
from typing import Any

import pytest

from tests.compat.kv2_client import Kv2Client

EMPTY = dict.fromkeys(("compile_error", "compile_output", "execute_error", "execute_output"), "")


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def run(kv2: Kv2Client, **fields: str) -> Any:
    """The finished task, untruncated."""
    return kv2.wait(kv2.submit(**fields)).json["task"]


def test_a_task_finds_its_files(kv2: Kv2Client) -> None:
    task = kv2.submit_zip(
        "compile_source",
        archive({"a.txt": b"source", "sub/b.txt": b"below"}),
        execute_data_name="d.txt",
        execute_data_str="data",
        execute_input="in",
        compile_command="find . | sort",
        execute_command="cat a.txt sub/b.txt data/d.txt -",
    )
    result = kv2.wait(task).json["task"]["result"]
    assert result["compile_output"].split() == [
        *(".", "./a.txt", "./compile.sh", "./data", "./data/d.txt"),
        *("./execute.in", "./execute.sh", "./sub", "./sub/b.txt"),
    ]
    assert result["execute_output"] == "sourcebelowdatain"


def test_the_data_folder_is_always_there(kv2: Kv2Client) -> None:
    task = run(kv2, compile_command="find . | sort", execute_command="pwd")
    assert task["result"]["compile_output"].split() == [
        *(".", "./compile.sh", "./data", "./execute.in", "./execute.sh")
    ]
    assert task["result"]["execute_output"].strip().endswith("/source")


def test_row_8_a_name_may_have_folders(kv2: Kv2Client) -> None:
    task = run(
        kv2,
        compile_source_name="sub/a.c",
        compile_source_str="x\r\ny",
        execute_command="od -c sub/a.c | head -1",
    )
    assert task["result"]["execute_output"].split() == ["0000000", "x", "\\n", "y"]


def test_what_compile_writes_execute_sees(kv2: Kv2Client) -> None:
    task = run(kv2, compile_command="echo made > file", execute_command="cat file")
    assert (task["status"], task["result"]) == (5, {**EMPTY, "execute_output": "made\n"})


@pytest.mark.parametrize(
    ("compile_command", "execute_command", "status", "execute_output"),
    [
        ("", "", 5, ""),
        ("true", "echo ran", 5, "ran\n"),
        ("exit 3", "echo ran", 2, ""),
        ("kill -9 $$", "echo ran", 2, ""),
        ("true", "echo ran; exit 1", 4, "ran\n"),
        ("true", "echo ran; kill -11 $$", 4, "ran\n"),
    ],
)
def test_endings(
    kv2: Kv2Client, compile_command: str, execute_command: str, status: int, execute_output: str
) -> None:
    task = run(kv2, compile_command=compile_command, execute_command=execute_command)
    assert (task["status"], task["done"], task["executor"]) == (status, True, None)
    assert task["result"]["execute_output"] == execute_output


def test_input_comes_from_the_file(kv2: Kv2Client) -> None:
    task = run(kv2, execute_input="a\r\nb", execute_command="od -An -c; cat execute.in")
    assert task["result"]["execute_output"].split() == ["a", "\\n", "b", "a", "b"]


def test_row_17_the_standard_is_never_compared(kv2: Kv2Client) -> None:
    assert run(kv2, execute_command="echo 1", execute_standard="2")["status"] == 5


@pytest.mark.parametrize(
    ("stage", "status", "sentence"),
    [("compile", 2, "Compile time out."), ("execute", 4, "Execution time out.")],
)
def test_row_18_time_outs(kv2: Kv2Client, stage: str, status: int, sentence: str) -> None:
    start = time.monotonic()
    task = run(
        kv2,
        **{f"{stage}_command": "echo so far; echo lost >&2; sleep 60", f"{stage}_timeout": "1"},
    )
    assert time.monotonic() - start < 30
    assert task["status"] == status
    assert task["result"] == {
        **EMPTY,
        f"{stage}_output": "so far\n",
        f"{stage}_error": sentence,
    }


@pytest.mark.parametrize(
    ("stage", "status", "sentence"),
    [
        ("compile", 2, "Compile output limitation exceeded."),
        ("execute", 4, "Execution output limitation exceeded."),
    ],
)
def test_row_19_too_much_output(kv2: Kv2Client, stage: str, status: int, sentence: str) -> None:
    task = run(kv2, **{f"{stage}_command": "yes", f"{stage}_timeout": "60"})
    assert task["status"] == status
    assert task["result"] == {**EMPTY, f"{stage}_error": sentence}


def test_row_13_a_broken_archive_ends_in_8(kv2: Kv2Client) -> None:
    task = kv2.wait(kv2.submit_zip("compile_source", b"this is no zip")).json["task"]
    assert (task["status"], task["done"]) == (8, True)
    assert task["result"]["compile_error"] != ""
    assert task["result"]["execute_output"] == ""


def test_row_20_a_time_out_ends_children_too(kv2: Kv2Client) -> None:
    task = run(
        kv2,
        execute_command="(sleep 2; echo late) & echo early; sleep 60",
        execute_timeout="1",
    )
    assert task["result"]["execute_output"] == "early\n"


def test_row_21_the_environment_is_the_tasks_own(kv2: Kv2Client) -> None:
    output = run(kv2, execute_command="env")["result"]["execute_output"]
    names = {line.partition("=")[0] for line in output.splitlines()}
    kept = {"PATH", "HOME", "LANG", "TMPDIR", "USER"}
    assert kept <= names
    of_bash = {"PWD", "OLDPWD", "SHLVL", "_"}
    about_it = ("TASK_ID", "ATTEMPT", "CPUS", "MEMORY_BYTES", "WORKDIR")
    of_khala = {"ASAN_OPTIONS", *(f"KHALA_{name}" for name in about_it)}
    assert names <= kept | of_bash | of_khala  # and nothing of the executor, such as MARKER


def test_row_25_first_come_first_served(kv2: Kv2Client) -> None:
    blockers = [kv2.submit(execute_command="sleep 1") for _ in range(2)]
    tasks = [kv2.submit(execute_command="date +%s%N") for _ in range(4)]
    for task in blockers:
        kv2.wait(task)
    stamps = [int(kv2.wait(task).json["task"]["result"]["execute_output"]) for task in tasks]
    # Two slots start two at a time, so only every other order is certain.
    assert stamps[0] < stamps[2] and stamps[1] < stamps[3]
