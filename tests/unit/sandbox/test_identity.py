"""Two sets of programs are told apart by what differs, and by nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import identity
from sandbox.identity import HostIdentity, identity_of_host, tree_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "gcc"
    (top / "bin").mkdir(parents=True)
    (top / "bin" / "gcc").write_bytes(b"program")
    (top / "bin" / "cc").symlink_to("gcc")
    (top / "lib").mkdir()
    return top


def _rewrite(top: Path) -> None:
    before = (top / "bin/gcc").stat()
    (top / "bin/gcc").write_bytes(b"PROGRAM")
    os.utime(top / "bin/gcc", ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def _append(top: Path) -> None:
    with (top / "bin/gcc").open("ab") as file:
        file.write(b"!")


def _relink(top: Path) -> None:
    (top / "bin/cc").unlink()
    (top / "bin/cc").symlink_to("tcc")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": _rewrite,
    "a size": _append,
    "a mode": lambda top: (top / "bin/gcc").chmod(0o755),
    "a link": _relink,
    "a new file": lambda top: (top / "lib/crt0.o").touch(),
    "a new folder": lambda top: (top / "include").mkdir(),
    "a removal": lambda top: (top / "lib").rmdir(),
    "a name": lambda top: (top / "bin/gcc").rename(top / "bin/g++"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_tree_that_changed_is_another(tree: Path, change: str) -> None:
    before = tree_of(str(tree))
    CHANGES[change](tree)
    assert tree_of(str(tree)).identity != before.identity


def test_a_copy_that_keeps_the_dates_is_the_same_tree(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    assert tree_of(str(tmp_path / "copy")) == tree_of(str(tree))
    assert tree_of(str(tree)).size_bytes == len(b"program")


def test_the_hosts_identity_covers_packages_and_exposed_trees(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "status"
    packages.write_text("gcc 12")
    monkeypatch.setattr(identity, "_PACKAGES", (str(packages), str(tmp_path / "missing")))
    monkeypatch.setattr(identity, "_UNPACKAGED", (str(tmp_path / "missing"),))
    seen = {identity_of_host([]), identity_of_host([str(tree)])}
    packages.write_text("gcc 13.1")
    seen.add(identity_of_host([str(tree)]))
    _relink(tree)
    seen.add(identity_of_host([str(tree)]))
    assert len(seen) == 4


async def test_the_hosts_identity_is_looked_up_again_when_it_is_old(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_PACKAGES", ())
    monkeypatch.setattr(identity, "_UNPACKAGED", ())
    host = HostIdentity([str(tree)])
    before = await host.get()
    (tree / "lib/crt0.o").touch()
    assert await host.get() == before
    monkeypatch.setattr(host, "_good_until", 0.0)
    assert await host.get() != before
