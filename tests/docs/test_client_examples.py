"""The examples of cli.md, client.md and operations.md, run as they are printed, out of the real
file."""

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


def follow(block: str, folder: Path, environment: dict[str, str]) -> int:
    """Run its examples in order and compare; how many answers were compared."""
    compared = 0
    variables: dict[str, str] = {}
    for example in examples(block):
        assigned = re.match(r"(\w+)=", example.command)
        said = f'printf %s "${assigned[1]}"' if assigned else ""
        done = subprocess.run(
            ["bash", "-euc", f'khala.pex() {{ "{PEX}" "$@"; }}\n{example.command}\n{said}'],
            cwd=folder,
            env={**os.environ, **environment, **variables},
            capture_output=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, (example.command, done.stderr.decode())
        if assigned:
            variables[assigned[1]] = done.stdout.decode()
        if example.answer:
            assert example.pattern().fullmatch(done.stdout.decode()), (example, done.stdout)
            compared += 1
    return compared


@pytest.mark.parametrize("number", range(len(blocks("docs/cli.md", "sh"))))
def test_command_line(fresh: Khala, tmp_path: Path, number: int) -> None:
    environment = {
        "KHALA_URL": fresh.url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    assert follow(blocks("docs/cli.md", "sh")[number], tmp_path, environment)


def test_operations(fresh: Khala, tmp_path: Path) -> None:
    environment = {
        "KHALA_DATA_DIR": str(fresh.data_dir),
        "KHALA_MONGODB_PORT": str(fresh.ports["mongodb"]),
    }
    for block in blocks("docs/operations.md", "sh"):
        assert follow(block, tmp_path, environment)


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
