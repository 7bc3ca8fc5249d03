"""The lock files are whole: pinned, hashed, of one resolution, and free of any index's address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LOCKS = ROOT / "build" / "locks"
HASHED = ("build", "node", "runtime", "test")


def pins(name: str) -> dict[str, str]:
    """The package versions a lock file names."""
    found = re.findall(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", (LOCKS / f"{name}.txt").read_text(), re.M)
    assert found
    return dict(found)


def wanted(group: str) -> list[Requirement]:
    """What pyproject.toml asks for, under `group` ("runtime": the project's own dependencies)."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    lines = (
        project["project"]["dependencies"]
        if group == "runtime"
        else project["dependency-groups"][group]
    )
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("group", HASHED)
def test_a_lock_answers_what_pyproject_asks(group: str) -> None:
    locked = pins(group)
    for requirement in wanted(group):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {group}.txt: run build/lock"
        assert version in requirement.specifier, f"{requirement} but {version}: run build/lock"


@pytest.mark.parametrize("group", HASHED)
def test_every_locked_package_has_hashes_and_the_common_version(group: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", (LOCKS / f"{group}.txt").read_text())[1:]
    assert len(entries) == len(pins(group))
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    common = pins("constraints")
    assert {name: common.get(name) for name in pins(group)} == pins(group)


@pytest.mark.parametrize("path", sorted(LOCKS.iterdir()), ids=lambda path: path.name)
def test_no_lock_names_an_index(path: Path) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links", path.read_text())


def test_the_pex_file_has_one_plain_argument_a_line() -> None:
    lines = (ROOT / "BUILD.pex").read_text().splitlines()
    assert [line for line in lines if not line or line.startswith("#") or " " in line] == []
    assert lines[0] == "."
    (constraints,) = [line for line in lines if line.startswith("--constraints=")]
    assert (ROOT / constraints.partition("=")[2]).is_file()
