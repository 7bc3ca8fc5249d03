"""`doctor` on this very host: what it finds is what the sandbox does here, and nothing is left."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from khala.model.enforcement import Mode
from khala.net.ports import free_ports
from khala.protocol.doctor import Level, Line, Report
from sandbox import contain, mounts
from tests.sandbox.harness import MODE, UID_BASE, Runner

_ROOT = Path(__file__).parents[2]
_PORTS = ("etcd-peer-port", "etcd-client-port", "mongodb-port", "rpc-port", "http-port")


def _doctor(
    folder: Path, *arguments: str, before: tuple[str, ...] = ()
) -> tuple[int, dict[str, Line]]:
    """The exit code, and the lines by their names. `before`: what starts it."""
    ports = [f"--{name}={port}" for name, port in zip(_PORTS, free_ports(5), strict=True)]
    command = [sys.executable, *before, "-m", "khala", "doctor", "--json", *ports]
    ran = subprocess.run(
        [*command, "--data-dir", str(folder), *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        check=False,
    )
    assert ran.stderr == ""
    report = msgspec.json.decode(ran.stdout, type=Report)
    assert report.able == (ran.returncode == 0) and ran.returncode in (0, 69)
    return ran.returncode, {line.check: line for line in report.lines}


def _missing(lines: dict[str, Line]) -> list[str]:
    return [name for name, line in lines.items() if line.level is Level.MISSING]


def test_it_finds_what_the_sandbox_enforces_here(runner: Runner, tmp_path: Path) -> None:
    enforcement = runner.sandbox.enforcement
    degraded = enforcement.mode is Mode.DEGRADED
    code, lines = _doctor(tmp_path)
    assert _missing(lines) == (["cgroups"] if degraded else []) and (code == 69) == degraded
    if not degraded:
        assert lines["cgroups"].found == enforcement.label
    assert f"was limited by {enforcement.label};" in lines["trial jail"].found
    assert lines["namespaces"].found == "user, mnt, pid, net, ipc, uts, cgroup"


@pytest.mark.usefixtures("runner")
def test_it_leaves_nothing(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    _doctor(tmp_path)
    assert Path("/proc/self/mountinfo").read_text() == before
    assert list(tmp_path.iterdir()) == []
    assert not list(Path("/sys/fs/cgroup").glob("**/khala/doctor-*"))
    assert not list(Path("/run/khala").glob("doctor-*"))
    assert not [line for line in _command_lines() if b"khala/doctor-" in line]


def _command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()


def test_a_missing_nsjail(tmp_path: Path) -> None:
    code, lines = _doctor(tmp_path, "--nsjail-bin", "/nonexistent")
    assert code == 69
    assert _missing(lines) == ["nsjail", "cgroups", "trial jail"]
    for name in _missing(lines):
        assert "--nsjail-bin: /nonexistent is not an executable file" in lines[name].found


def test_another_program_in_place_of_nsjail(tmp_path: Path) -> None:
    code, lines = _doctor(tmp_path, "--nsjail-bin", "/bin/true", "--role", "executor")
    assert code == 69 and "trial jail" in _missing(lines)
    assert "a trial jail did not work" in lines["trial jail"].found


def test_a_taken_port_matters_to_its_role_only(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = ("--http-port", str(port))
        code, lines = _doctor(tmp_path, *taken, "--role", "gateway")
        assert (code, _missing(lines)) == (69, ["HTTP port"])
        assert f"--http-port: port {port} of 127.0.0.1 cannot be had" in lines["HTTP port"].found
        assert f"process {os.getpid()} (" in lines["HTTP port"].found
        assert lines["HTTP port"].repair == f"kill {os.getpid()}, or another --http-port"
        code, lines = _doctor(tmp_path, *taken, "--role", "judicator")
        assert (code, _missing(lines)) == (0, [])


@pytest.mark.usefixtures("runner")  # its mounts are this process's own
def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    mounts.mount("none", str(tmp_path), "tmpfs", flags=mounts.RDONLY)
    try:
        code, lines = _doctor(tmp_path, "--role", "judicator")
        assert (code, _missing(lines)) == (69, ["data directory", "disk latency"])
        assert "Read-only file system" in lines["data directory"].found
        code, lines = _doctor(tmp_path / "below", "--role", "gateway")
        assert (code, _missing(lines)) == (69, ["data directory"])
        assert f"{tmp_path} is not writable" in lines["data directory"].found
    finally:
        mounts.unmount(str(tmp_path))


@pytest.mark.usefixtures("runner")
def test_a_data_directory_in_memory(tmp_path: Path) -> None:
    mounts.mount("none", str(tmp_path), "tmpfs", options="size=400m")
    try:
        code, lines = _doctor(tmp_path, "--role", "judicator")
        assert lines["data directory"].level is Level.WARNING
        assert "gone after a restart" in lines["data directory"].found
        assert (code, _missing(lines)) == (69, ["free space"])
    finally:
        mounts.unmount(str(tmp_path))


@pytest.mark.skipif(
    MODE is Mode.DEGRADED or os.geteuid() != 0,
    reason="there are no cgroups, or nobody repairs them",
)
@pytest.mark.usefixtures("runner")  # its mounts are this process's own
def test_cgroups_that_are_read_only_as_in_a_container(tmp_path: Path) -> None:
    """The repair it names is run, and that was all."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()
              if line.split()[2].startswith("cgroup")]  # fmt: skip
    for place in places:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    try:
        code, lines = _doctor(tmp_path, "--role", "executor")
        assert (code, _missing(lines)) == (69, ["cgroups"])
        found = lines["cgroups"].found
        assert "Read-only file system" in found
        repair = found.partition("repair with: ")[2].partition(". Without")[0].partition(";")[0]
        subprocess.run(["sh", "-c", repair], check=True)
        code, lines = _doctor(tmp_path, "--role", "executor")
        assert (code, _missing(lines)) == (0, [])
    finally:
        for place in places:
            subprocess.run(["mount", "-o", "remount,bind,rw", place], check=True)


_UNPRIVILEGED = UID_BASE + 191


@pytest.fixture
def everybodys_folder() -> Iterator[Path]:
    """Unlike pytest's, one that other users reach."""
    folder = Path(tempfile.mkdtemp(prefix="khala-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_user_without_rights(everybodys_folder: Path) -> None:
    """Whoever has root gives it up here; whoever has none is such a user already."""
    folder = everybodys_folder / "data"
    # Not by its uid: the sandbox of these tests may have made it root of a user namespace.
    if not contain.owns_ids(_UNPRIVILEGED, 1):
        _, lines = _doctor(folder, "--role", "executor")
        assert "was limited by not root" in lines["trial jail"].found
        return
    # Whose folder it is, that user the program becomes.
    os.chown(everybodys_folder, _UNPRIVILEGED, _UNPRIVILEGED)
    drop = ("-m", "tests.sandbox.unprivileged", str(everybodys_folder))
    code, lines = _doctor(folder, "--role", "executor", before=drop)
    assert (code, _missing(lines)) == (69, ["cgroups"])
    assert "without root there is no cgroup v1" in lines["cgroups"].found
    assert "was limited by not root, no cgroups" in lines["trial jail"].found
    code, lines = _doctor(folder, "--role", "executor", "--allow-degraded", before=drop)
    assert (code, _missing(lines)) == (0, [])
    assert lines["cgroups"].level is Level.WARNING
