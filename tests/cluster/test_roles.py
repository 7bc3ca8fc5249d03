"""The three roles as processes of their own, and two whole Khalas on one host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, Khala, running, wait_until


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Khala]:
    """Started one by one, the judicator last: each waits for what it needs."""
    khala = Khala(tmp_path / "data")
    environment = {
        **os.environ,
        "KHALA_DATA_DIR": str(khala.data_dir),
        "KHALA_ETCD_PEER_PORT": str(khala.ports["etcd_peer"]),
        "KHALA_ETCD_CLIENT_PORT": str(khala.ports["etcd_client"]),
        "KHALA_MONGODB_PORT": str(khala.ports["mongodb"]),
        "KHALA_RPC_PORT": str(khala.ports["rpc"]),
        "KHALA_HTTP_PORT": str(khala.http_port),
    }
    started: list[subprocess.Popen[bytes]] = []
    with open(khala.log, "ab") as log:
        try:
            for role in ("gateway", "executor", "judicator"):
                started.append(  # noqa: PERF401 - each one is stopped, whatever the next does
                    subprocess.Popen([str(PEX), role], env=environment, stderr=log)
                )
            yield khala
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGTERM)
            for process in reversed(started):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                process.kill()
                process.wait()
            khala.destroy()


def test_roles_find_each_other(apart: Khala) -> None:
    def ready() -> bool:
        with contextlib.suppress(OSError):
            return apart.call("GET", "/readyz")[0] == 200
        return False

    wait_until(ready, 90, "the gateway is ready")
    task = apart.submit(execute_command="echo apart")
    assert apart.wait_done(task)["result"]["execute_output"] == "apart\n"


def test_two_on_one_host_do_not_meet(shared: Khala, tmp_path: Path) -> None:
    with running(tmp_path / "data") as other:
        here = shared.submit(execute_command="echo here")
        there = other.submit(execute_command="echo there")
        assert shared.wait_done(here)["result"]["execute_output"] == "here\n"
        assert other.wait_done(there)["result"]["execute_output"] == "there\n"
        assert other.call("GET", f"/api/task?id={here}") == (200, {"result": 2, "task": None})
