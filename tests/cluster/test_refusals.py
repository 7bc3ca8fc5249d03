"""Bad surroundings get one clear line that names the thing and the way out; nothing is lost."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, Khala, running


def run(*arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, str(PEX), *arguments], capture_output=True, text=True, timeout=90, check=False
    )


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, (result.returncode, result.stderr[-2000:])
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr[-2000:]


def test_second_up_in_the_same_directory(shared: Khala) -> None:
    report = (shared.data_dir / "run" / "up.json").read_bytes()
    refused(run("up", "--data-dir", str(shared.data_dir)), str(shared.data_dir))
    assert (shared.data_dir / "run" / "up.json").read_bytes() == report
    assert shared.wait_done(shared.submit(execute_command="echo unharmed"))["status"] == 5


def test_the_hosts_network_where_databases_ask_nobody_who_it_is(
    shared: Khala, tmp_path: Path
) -> None:
    refused(
        run("up", "--data-dir", str(tmp_path / "up"), "--allow-network", "full"),
        "--allow-network",
        "--token-file",
    )
    here = ("--secret-file", str(shared.data_dir / "secret"), "--data-dir", str(tmp_path / "e"))
    join = ("--join", f"127.0.0.1:{shared.ports['rpc']}", "--name", "open")
    refused(run("executor", *here, *join, "--allow-network", "full"), "--allow-network", "--init")


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(
            run("up", "--data-dir", str(tmp_path / "data"), "--http-port", port),
            "--http-port",
            port,
        )


def test_data_dir_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("not a directory")
    refused(run("up", "--data-dir", str(path)), str(path))
    assert path.read_text() == "not a directory"


def test_data_dir_cannot_be_made(tmp_path: Path) -> None:
    refused(run("up", "--data-dir", "/proc/khala/data"), "/proc/khala/data")


def test_missing_capability_is_named(tmp_path: Path) -> None:
    result = run(
        "executor",
        "--data-dir",
        str(tmp_path),
        prefix=("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"),
    )
    refused(result, "CAP_SYS_ADMIN")


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A directory that every user can reach; pytest's own belong to root."""
    with tempfile.TemporaryDirectory(prefix="khala-nobody-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def test_not_root_is_told_what_is_missing(nobodys: Path) -> None:
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    result = subprocess.run(
        [*nobody, str(PEX), "executor", "--data-dir", str(nobodys / "data")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "PEX_ROOT": str(nobodys / "pex"), "HOME": str(nobodys)},
    )
    refused(result, "root")


def test_binding_an_unauthenticated_service_beyond_loopback(tmp_path: Path) -> None:
    for flag in ("--http-bind", "--bind"):
        result = run("up", "--data-dir", str(tmp_path / "data"), flag, "0.0.0.0")
        refused(result, flag)


def test_data_of_a_member_under_another_address(tmp_path: Path) -> None:
    with running(tmp_path / "data") as khala:
        task = khala.submit(execute_command="echo kept")
        khala.wait_done(task)
        khala.stop()
        refused(run("up", "--data-dir", str(khala.data_dir)), "--mongodb-port")
        khala.start()
        assert khala.task(task)["status"] == 5
