"""No variable that a task may ask for ends the shell that sets it, whichever shell an image has."""

from __future__ import annotations

import subprocess

import pytest

from khala.model.spec import Stage, StageLimits
from sandbox.job import Job
from sandbox.orders import orders_for

#: /bin/sh of Debian, and of most others.
SHELLS = (["dash"], ["bash", "--posix"])
LIMITS = StageLimits(wall_ms=1, cpu_ms=1, memory_bytes=1, pids=1, output_bytes=1, file_bytes=1)


def known_to_bash() -> list[str]:
    listed = subprocess.run(
        ["bash", "-c", "compgen -v"], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_every_variable_of_the_shells_own_can_be_asked_for(shell: list[str]) -> None:
    names = known_to_bash()
    assert "BASH_VERSINFO" in names
    failed = []
    for name in [*names, "OPTIND", "HISTCMD"]:
        job = Job(
            command=b"",
            stage=Stage.EXECUTE,
            limits=LIMITS,
            stdout="",
            stderr="",
            environment={name: "x y"},
        )
        script = orders_for(job) + b'echo "reached $1"'
        ran = subprocess.run([*shell, "-c", script], capture_output=True, check=False)
        if b"reached execute.sh" not in ran.stdout:
            failed.append(name)
    assert failed == []
