"""Scripts that were written for Slurm's `sbatch`."""

from __future__ import annotations

from pathlib import Path

import pytest

from khala.model.errors import Rejected
from roles.client.commands import submit
from roles.client.directives import with_directives
from roles.client.request import Options, task_of
from roles.client.sbatch import translate

SCRIPT = """\
#!/bin/bash -l
# of a cluster that was
#SBATCH --job-name=sweep -t 1-02:03:04
#SBATCH --mem 4G --cpus-per-task=2
#SBATCH -a 0-99%8
#SBATCH --export=NONE
#SBATCH -N 1 --ntasks=1

echo $SLURM_ARRAY_TASK_ID
#SBATCH --mem=8G
"""


def options_of(line: str) -> list[str]:
    return translate(f"#SBATCH {line}\ntrue\n").options


def test_a_script_is_taken_as_it_is(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(SCRIPT)
    arguments = ["-f", str(script), "--directives", "sbatch", "--time", "5m"]
    given = with_directives(submit, submit.make_context("submit", arguments).params)
    assert given["array"] == "0-99%8"
    task = task_of(Options(**{name: given[name] for name in Options.__struct_fields__}))
    assert task.name == "sweep" and task.resources == {"memory": "4GiB", "cpus": 2}
    assert task.execute is not None and task.execute.command.endswith(SCRIPT)
    limits = task.execute.limits
    # What was typed later wins.
    assert (limits.wall_s, limits.memory, limits.cpus) == (300.0, "4GiB", 2.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("2:00:00", 7200),
        ("1-0", 86400),
        ("1-2:3", 93780),
        ("1-2:3:4", 93784),
    ],
)
def test_times_are_slurms(text: str, seconds: int) -> None:
    assert options_of(f"--time={text}") == ["--time", f"{seconds}s"]


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("--mem=512", ["--mem", "512MiB", "--resource", "memory=512MiB"]),
        ("--gres=gpu:2 # of any type", ["--resource", "gpu=2"]),
        ("--gpus=1", ["--resource", "gpu=1"]),
        (
            "-d afterok:last:6f,afterany:7a",
            ["--after", "last", "--after", "6f", "--after", "7a:any"],
        ),
        ("--export=ALL,A=1,B=2", ["--env", "A=1", "--env", "B=2"]),
        ("-D data", ["--source", "data"]),
        ("--partition=fast -w exec-07", ["--require", "partition=fast", "--node", "exec-07"]),
    ],
)
def test_what_has_a_meaning_is_translated(line: str, options: list[str]) -> None:
    assert options_of(line) == options


@pytest.mark.parametrize("line", ["-o out-%j.txt", "--error=e.txt", "--export=ALL"])
def test_what_needs_nothing_is_said(line: str) -> None:
    translated = translate(f"#SBATCH {line}\ntrue\n")
    assert not translated.options and len(translated.notes) == 1


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("--mail-type=END", "--job-name"),
        ("somewhere", "somewhere"),
        ("--time=0", "--time"),
        ("--time=UNLIMITED", "--time"),
        ("--time=1:2:3:4", "--time"),
        ("--time=-5", "--time"),
        ("--mem=lots", "--mem"),
        ("--mem=0", "--mem"),
        ("-n 8", "--ntasks"),
        ("-N 2", "--nodes"),
        ("--dependency=singleton", "--dependency"),
        ("--dependency=afternotok:6f", "--dependency"),
        ("--export=HOME", "--export"),
        ("--gres=fpga:1", "--gres"),
        ("--gres=gpu:a100:2", "--require"),
        ("--cpus-per-task=none", "--cpus-per-task"),
    ],
)
def test_what_has_none_is_refused_by_name(line: str, word: str) -> None:
    with pytest.raises(Rejected) as refused:
        options_of(line)
    assert "#SBATCH" in refused.value.message and word in refused.value.message


def test_only_a_shells_script_can_be_run() -> None:
    with pytest.raises(Rejected, match="python3"):
        translate("#!/usr/bin/env python3\n#SBATCH --mem=4G\n")
