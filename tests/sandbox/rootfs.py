"""A root file system with a shell and little else, made of what this host has."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

_PROGRAMS = ("bash", "cat", "ls", "touch", "id", "stat")
_LIBRARY = re.compile(r"(/\S+) \(0x")


def make_root(top: Path, says: str) -> Path:
    """`release` and `/etc/release` have the text `says`. Of what jails need beside programs it has
    nothing: no /tmp, /dev, /proc or /etc/passwd."""
    programs = top / "usr" / "bin"
    programs.mkdir(parents=True)
    (top / "bin").symlink_to("usr/bin")
    for name in _PROGRAMS:
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found is not None
        shutil.copy(found, programs / name)
        for library in _libraries(found):
            # By the path that programs have it under, which leads through symlinks here.
            copy = top / library.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copy)
    (programs / "sh").symlink_to("bash")
    (programs / "release").write_text(f"#!/bin/sh\necho {says}\n")
    (programs / "release").chmod(0o755)
    _add_odd_files(top, says)
    return top


def _add_odd_files(top: Path, says: str) -> None:
    etc = top / "etc"
    (etc / "ssl").mkdir(parents=True)
    (etc / "release").write_text(says)
    (etc / "ssl" / "link").symlink_to("../release")
    (etc / "shadow").write_text("secret")
    (etc / "shadow").chmod(0o600)
    (etc / "hosts").symlink_to("/nonexistent")
    (top / "top-level").write_text("a file\n")
    (top / "sys").mkdir()
    (top / "sys" / "kernel").mkdir()
    (top / "opt").mkdir()
    os.mknod(top / "opt" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (top / "opt" / "null").chmod(0o666)
    shutil.copy(top / "usr" / "bin" / "id", top / "opt" / "id")
    (top / "opt" / "id").chmod(0o4755)


def make_squashfs(top: Path, file: Path) -> Path:
    subprocess.run(
        ["mksquashfs", str(top), str(file), "-quiet", "-no-progress", "-noappend"],
        check=True,
        capture_output=True,
    )
    return file


def loops_of(file: Path) -> list[str]:
    """Loop devices of this host that the file is behind."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().strip() == str(file):
                found.append(backing.parts[3])
        except OSError:
            continue  # detached meanwhile
    return found


def _libraries(program: str) -> list[str]:
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return _LIBRARY.findall(listed)
