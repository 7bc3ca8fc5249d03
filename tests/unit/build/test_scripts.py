"""The commands a newcomer starts with: what they say when they cannot go on, and how they count."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOLS = (
    "bash",
    "cat",
    "cut",
    "dirname",
    "find",
    "flock",
    "mkdir",
    "mktemp",
    "rm",
    "sh",
    "sha256sum",
)


def run(
    *command: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that holds the scripts only, at a path with a space."""
    root = tmp_path / "a checkout"
    shutil.copytree(ROOT / "build", root / "build")
    return root


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the tools of a bare system and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", ["up", "test"])
def test_a_python_that_does_not_fit_is_named(checkout: Path, bare_path: Path, script: str) -> None:
    program(bare_path, "python3", "echo 3.9")
    result = run(checkout / "build" / script, PATH=str(bare_path), cwd=checkout.parent)
    assert result.returncode == 2, result.stderr
    assert result.stderr == (
        f"{script}: Python 3.11, 3.12 or 3.13 is needed and was not found (found: python3=3.9)\n"
    )


def test_a_python_without_ensurepip_is_told_what_to_install(
    checkout: Path, bare_path: Path
) -> None:
    program(bare_path, "python3", 'case "$2" in *version_info*) echo 3.12 ;; *) exit 1 ;; esac')
    result = run(checkout / "build" / "up", PATH=str(bare_path))
    assert result.returncode == 2, result.stderr
    assert "apt-get install python3.12-venv" in result.stderr


def test_an_unknown_ring_is_refused_with_the_names() -> None:
    result = run(ROOT / "build" / "test", "clutser")
    assert result.returncode == 2, result.stdout
    assert "'clutser' is neither checks, bench, nor one of: unit sim checker store" in result.stderr


def test_the_usage_is_printed_without_any_set_up(checkout: Path, bare_path: Path) -> None:
    result = run(checkout / "build" / "test", "--help", PATH=str(bare_path))
    assert result.returncode == 0, result.stderr
    assert "build/test bench" in result.stdout


def test_tests_are_counted_from_the_report(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_left_out(): pytest.skip('not here')\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_unstarted(broken): pass\n"
    )
    report = tmp_path / "report.xml"
    run(sys.executable, "-m", "pytest", "--rootdir=.", f"--junitxml={report}", cwd=tmp_path)
    counted = run(sys.executable, ROOT / "build" / "count.py", report)
    assert counted.stdout == "1 2 1\n"


def test_a_missing_report_is_not_a_success(tmp_path: Path) -> None:
    assert run(sys.executable, ROOT / "build" / "count.py", tmp_path / "none.xml").returncode != 0
