"""Nodes of one cluster on one host: each has a loopback address and a directory of its own, and is
started with the commands that the documents name."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from khala.net.ports import free_ports
from tests.cluster.harness import PEX, Khala, trap_beside, wait_until

#: A recovery starts two databases twice.
COMMAND_S = 240.0


class Ports:
    """The same for every node: their addresses differ."""

    def __init__(self) -> None:
        self.peer, self.client, self.mongodb, self.rpc = free_ports(4)

    @property
    def argv(self) -> tuple[str, ...]:
        return (
            *("--etcd-peer-port", str(self.peer), "--etcd-client-port", str(self.client)),
            *("--mongodb-port", str(self.mongodb), "--rpc-port", str(self.rpc)),
        )


class Node:
    """One process tree of one role; `start` after `kill9` finds the same data."""

    def __init__(self, folder: Path, name: str, role: str, arguments: tuple[str, ...]) -> None:
        self.name = name
        self.role = role
        self.data_dir = folder / name
        self.log = folder / f"{name}.log"
        self._arguments = arguments
        #: What it is started from; another one for an upgrade.
        self.file = PEX
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        argv = [str(self.file), self.role, "--name", self.name, "--data-dir", str(self.data_dir)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*argv, *self._arguments, *arguments],
                stdout=log,
                stderr=log,
                cwd=trap_beside(self.data_dir),
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def pids(self) -> list[int]:
        """Found by the data directory in their arguments, and below those; never by name."""
        finder = Khala.__new__(Khala)
        finder.data_dir, finder.process = self.data_dir, self.process
        return sorted(finder.argv_by_pid())

    def pid_of(self, word: str) -> int:
        finder = Khala.__new__(Khala)
        finder.data_dir, finder.process = self.data_dir, self.process
        return finder.pid_of(word)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self.process = None

    def kill9(self) -> None:
        """The whole tree at once, as when a host loses its power."""
        for _ in range(3):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(20)
        self.process = None
        wait_until(lambda: not self.pids(), 20, f"{self.name} is dead")

    def destroy(self) -> None:
        with contextlib.suppress(Exception):
            self.kill9()
        shutil.rmtree(self.data_dir, ignore_errors=True)


class Cluster:
    """Grows node by node; all of it goes at the end."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.ports = Ports()
        #: Of judicators.
        self.options = options
        self.nodes: dict[str, Node] = {}
        self.addresses: dict[str, str] = {}

    # ---- growing ----------------------------------------------------------------------------

    def judicator(self, name: str, address: str, *joining: str) -> Node:
        """Started, and it serves. The first one makes the cluster."""
        arguments = ("--bind", address, *self.ports.argv, *self.options)
        node = self._add(Node(self.folder, name, "judicator", arguments), address)
        node.start(*(joining or ("--init",)))
        self.wait_serving(name)
        return node

    def join(self, name: str, role: str, *options: str) -> Node:
        """An executor or a gateway, with a token of its own."""
        node = Node(self.folder, name, role, (*("--join", self.judicators), *options))
        node.start("--join-token-file", str(self.token_file(role)))
        return self._add(node, "")

    def _add(self, node: Node, address: str) -> Node:
        self.nodes[node.name] = node
        if address:
            self.addresses[node.name] = address
        return node

    @property
    def judicators(self) -> str:
        return ",".join(f"{address}:{self.ports.rpc}" for address in self.addresses.values())

    def token_file(self, role: str, *options: str) -> Path:
        made = self.run("token", "create", "--role", role, *options)
        assert made.returncode == 0, made.stderr
        file = self.folder / f"token-{len(list(self.folder.glob('token-*')))}"
        file.write_text(made.stdout)
        file.chmod(0o600)
        return file

    def run(self, *arguments: str, on: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command on a judicator's host, the first one's if it is not named."""
        name = on or next(name for name in self.addresses if self.nodes[name].alive())
        return command(*arguments, "--data-dir", str(self.nodes[name].data_dir))

    # ---- looking ----------------------------------------------------------------------------

    def wait_serving(self, name: str, timeout_s: float = 120.0) -> None:
        url = f"https://{self.addresses[name]}:{self.ports.rpc}/readyz"
        node = self.nodes[name]

        def serves() -> bool:
            assert node.alive(), f"{name} ended:\n{node.log_tail()}"
            try:
                with urllib.request.urlopen(url, timeout=5, context=stranger()) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        try:
            wait_until(serves, timeout_s, f"{name} serves")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{node.log_tail()}") from None

    def destroy(self) -> None:
        for node in reversed(self.nodes.values()):
            node.destroy()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PEX), *arguments], capture_output=True, text=True, timeout=COMMAND_S, check=False
    )


def stranger() -> ssl.SSLContext:
    """One who believes everybody and can prove nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def growing(folder: Path, *options: str) -> Iterator[Cluster]:
    cluster = Cluster(folder, *options)
    try:
        yield cluster
    finally:
        cluster.destroy()


def gateway_of(node: Node, port: int) -> Khala:
    """HTTP calls through a gateway, with the harness's own verbs."""
    client = Khala.__new__(Khala)
    client.data_dir, client.process = node.data_dir, node.process
    client.http_port, client.url = port, f"http://127.0.0.1:{port}"
    return client


def wait_ready(client: Khala, node: Node) -> None:
    def ready() -> bool:
        assert node.alive(), f"{node.name} ended:\n{node.log_tail()}"
        with contextlib.suppress(OSError):
            return client.call("GET", "/readyz")[0] == 200
        return False

    wait_until(ready, 90, f"{node.name} is ready")
