"""The examples of docs/cli.md and docs/client.md, run as they are printed, out of the real file."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, Khala, running
from tests.docs.test_examples import blocks, examples


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Khala]:
    with running(tmp_path_factory.mktemp("client") / "data") as khala:
        yield khala


@pytest.mark.parametrize("number", range(len(blocks("docs/cli.md", "sh"))))
def test_command_line(fresh: Khala, tmp_path: Path, number: int) -> None:
    compared = 0
    environment = {
        **os.environ,
        "KHALA_URL": fresh.url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    for example in examples(blocks("docs/cli.md", "sh")[number]):
        done = subprocess.run(
            ["bash", "-euc", f'khala.pex() {{ "{PEX}" "$@"; }}\n{example.command}'],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, (example.command, done.stderr.decode())
        if example.answer:
            assert example.pattern().fullmatch(done.stdout.decode()), (example, done.stdout)
            compared += 1
    assert compared


@pytest.mark.parametrize("number", range(len(blocks("docs/client.md", "python"))))
def test_python(fresh: Khala, tmp_path: Path, number: int) -> None:
    program = blocks("docs/client.md", "python")[number]
    script = tmp_path / "program.py"
    script.write_text(program.replace("http://127.0.0.1:7000", fresh.url))
    done = subprocess.run(
        [str(PEX), str(script)],
        env={**os.environ, "PEX_INTERPRETER": "1"},
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    expected = "".join(f"{line}\n" for line in re.findall(r"^# (.*)$", program, re.MULTILINE))
    assert done.stdout.decode() == expected
