"""A whole Khala for the contract: started once, from the sources, as a user starts it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from khala.net.ports import free_ports
from tests.compat.answers import answers_checked
from tests.compat.kv2_client import Answer, Kv2Client

ROOT = Path(__file__).resolve().parents[2]
#: Two busy processors take minutes; it costs nothing where it is quick.
START_S = 300.0
#: In the environment of every process of Khala, and of no task.
MARKER = "KHALA_COMPAT_MARKER"
#: Of users whom one test module alone knows.
QUOTAS = "4001:running=1;queued=4,4002:cpu=1s,4003:bytes=4KiB"
STOP_S = 60.0


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running Khala."""
    folder = tmp_path_factory.mktemp("compat")
    with running(folder, "--quota-user", QUOTAS) as up, answers_checked(up.url):
        yield up.url


class Up(NamedTuple):
    """A whole Khala."""

    url: str
    pid: int
    data_dir: Path
    rpc_port: int


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Up]:
    """A whole Khala within the block."""
    peer, client, mongodb, rpc, http = free_ports(5)
    argv = [
        *(sys.executable, "-m", "khala", "up", "--data-dir", str(folder / "data")),
        *("--name", f"compat-{secrets.token_hex(4)}", "--slots", "2"),
        *("--etcd-peer-port", str(peer), "--etcd-client-port", str(client)),
        *("--mongodb-port", str(mongodb), "--rpc-port", str(rpc), "--http-port", str(http)),
        *options,
    ]
    log = folder / "log"
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            start_new_session=True,
            env={**os.environ, MARKER: "1"},
        )
    try:
        url = _wait_for_url(process, log)
        yield Up(url, process.pid, folder / "data", rpc)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout:
                process.stdout.close()


def _wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    printed = b""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        printed += process.stdout.read() or b""
        for word in printed.decode().split():
            if word.startswith("http://") and b"\n" in printed:
                return word
        time.sleep(0.05)
    pytest.fail(f"no URL line of up:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="session")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kv2Client]:
    """A gateway whose cluster does not exist."""
    secret = tmp_path_factory.mktemp("lonely") / "secret"
    secret.touch(0o600)
    secret.write_text(secrets.token_hex(16))
    http, nobody = free_ports(2)
    argv = [
        *(sys.executable, "-m", "khala", "gateway", "--http-port", str(http)),
        *("--secret-file", str(secret), "--join", f"127.0.0.1:{nobody}"),
    ]
    process = subprocess.Popen(argv, cwd=ROOT, start_new_session=True)
    client = Kv2Client(f"http://127.0.0.1:{http}")
    try:
        deadline = time.monotonic() + START_S
        while not _lives(client):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield client
    finally:
        process.terminate()
        process.wait(STOP_S)


def _lives(client: Kv2Client) -> bool:
    try:
        return client.get("/livez").status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def kv2(stack: str) -> Kv2Client:
    return Kv2Client(stack)


@pytest.fixture(scope="session")
def finished(kv2: Kv2Client) -> Answer:
    """A task that both wrote and read everything there is, once it has ended."""
    task = kv2.submit(
        compile_source_name="sub/a.c",
        compile_source_str="int main;\r\n",
        execute_data_name="d.txt",
        execute_data_str="data",
        compile_command="echo compiled; echo warned >&2\r\n",
        execute_input="in\r\nput",
        execute_command="cat; printf '\\377\\000é'; echo failed >&2",
        execute_standard="std",
    )
    return kv2.wait(task)
