"""Real etcd members on loopback, which can be killed, paused and robbed of their data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import msgspec

from khala.net.ports import free_ports
from khala.supervise.binaries import find_program
from khala.supervise.etcd import EtcdSettings, etcd_argv

HOST = "127.0.0.1"


class Member:
    """One etcd process; `kill` is kill -9, `start` after it finds the same data."""

    def __init__(self, directory: Path, name: str, cluster: str) -> None:
        self.peer_port, self.client_port = free_ports(2)
        self.settings = EtcdSettings(
            program=find_program("etcd", None),
            name=name,
            cluster=cluster,
            data_dir=directory / name,
            host=HOST,
            peer_port=self.peer_port,
            client_port=self.client_port,
        )
        self.initial_cluster = f"{name}=http://{HOST}:{self.peer_port}"
        #: Instead of the usual bound of its file.
        self.quota_bytes: int | None = None
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self.client_port}"

    def start(self) -> None:
        # The last one of two equal flags counts.
        argv = [*etcd_argv(self.settings), f"--initial-cluster={self.initial_cluster}"]
        if self.quota_bytes is not None:
            argv.append(f"--quota-backend-bytes={self.quota_bytes}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Returns when every thread has stopped."""
        self.send(signal.SIGSTOP)
        assert self._process is not None
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def lose_data(self, *, cluster: str | None = None) -> None:
        """After `start` it is empty, and of another cluster if that is named."""
        self.kill()
        shutil.rmtree(self.settings.data_dir)
        if cluster is not None:
            self.settings = msgspec.structs.replace(self.settings, cluster=cluster)


class Cluster:
    """Members that know each other."""

    def __init__(self, directory: Path, size: int) -> None:
        self.members = [Member(directory, f"m{index}", "test") for index in range(size)]
        everyone = ",".join(member.initial_cluster for member in self.members)
        for member in self.members:
            member.initial_cluster = everyone

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def start(self) -> None:
        for member in self.members:
            member.start()

    def kill(self) -> None:
        for member in self.members:
            member.kill()
