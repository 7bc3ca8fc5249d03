"""Khala on hosts: which role runs where, how it is started again, how to reach it.

A role is kept running as a service manager would: started again a second after it ended, whatever
the reason, until it is told to stay down. Each has a file system of its own, in memory, so that a
disk can be filled without touching another's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.harness import wait_until
from tests.hosts.docker import Host
from tests.hosts.failpoints import POINTS
from tests.hosts.witness import Witness

SLOTS = 2
JUDICATOR, EXECUTORS, GATEWAYS = "j1", ("e1", "e2"), ("g1", "g2")
HOSTS = (JUDICATOR, *EXECUTORS, *GATEWAYS)
#: Of each host's file system, in memory: large enough for the work, small enough to be filled.
DISK_BYTES = {"j": 1200 << 20, "e": 700 << 20, "g": 64 << 20}
HTTP = 7000
START_TIMEOUT_S = 120.0
#: Of `khala.pex version`, when nothing else runs.
NOMINAL_START_S = 1.0
TOKEN = "a token of the tests, long enough"
_ROOT = "/srv/khala"
#: Started again a second after it ended, as long as there is no file `down`.
_SERVICE = """
cd {root}
while :; do
  if [ ! -e down ]; then (set -a; . ./environment; exec khala.pex $(cat command)) >>log 2>&1; fi
  sleep 1
done
"""
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


@dataclass(slots=True)
class Service:
    """One role, alone on its host, and its directory as the machine below sees it."""

    name: str
    host: Host
    folder: Path
    command: str

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def word(self) -> str:
        return self.command.split()[0]

    def start(self) -> None:
        (self.folder / "command").write_text(self.command)
        self.host.start(_SERVICE.format(root=_ROOT))

    def stay_down(self) -> None:
        (self.folder / "down").touch()
        self.kill9()

    def come_back(self) -> None:
        (self.folder / "down").unlink(missing_ok=True)

    def kill9(self) -> None:
        """The role's own process; guardians and supervisors see to the rest."""
        self.host.kill9(self.word, self.name)

    def restart(self) -> None:
        """As an operator does."""
        assert self.host.signal(signal.SIGTERM, self.word, self.name), f"{self.name} does not run"

    def reboot(self, off_s: float) -> None:
        self.host.lose_power()
        time.sleep(off_s)
        self.host.boot()
        self.start()

    def set_clock(self, offset: str | None) -> None:
        """From the next start on, every process of it has that much later or earlier a date."""
        variables = f"LD_PRELOAD={_FAKETIME}\nFAKETIME={offset}\nDONT_FAKE_MONOTONIC=1\n"
        (self.folder / "environment").write_text(variables if offset else "")

    def fill_disk(self) -> None:
        """To the last byte."""
        ballast = os.open(self.data / "ballast", os.O_WRONLY | os.O_CREAT)
        try:
            for size_bytes in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(ballast, bytes(size_bytes))
        finally:
            os.close(ballast)

    def free_disk(self) -> None:
        (self.data / "ballast").unlink()

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""


class Cluster:
    """Started with the commands that docs/cluster.md names."""

    def __init__(self, files: Path, hosts: dict[str, Host]) -> None:
        self._files = files
        self._hosts = hosts
        self.judicator = self._service(JUDICATOR, f"judicator --init --advertise {JUDICATOR}")
        exposed = f"--expose {_ROOT}/witness:/opt/witness"
        joining = f"--join {JUDICATOR} --join-token-file {_ROOT}/join"
        self.executors = [
            self._service(name, f"executor {joining} --slots {SLOTS} {exposed}")
            for name in EXECUTORS
        ]
        listening = f"--http-bind 0.0.0.0 --http-port {HTTP} --token-file {_ROOT}/token"
        self.gateways = [self._service(name, f"gateway {joining} {listening}") for name in GATEWAYS]
        self.witnesses = {
            each.name: Witness(each.name, each.folder / "witness") for each in self.executors
        }

    @staticmethod
    def prepare(files: Path) -> None:
        """What must be there before the containers: a bind shows what is mounted by then."""
        (files / "failpoints").mkdir()
        for name in HOSTS:
            data = files / name / "data"
            data.mkdir(parents=True)
            size = f"size={DISK_BYTES[name[0]]},mode=755"
            mount = ("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(data))
            subprocess.run(mount, check=True)
            (files / name / "environment").touch()
            token = files / name / "token"
            token.write_text(TOKEN)
            token.chmod(0o600)

    @staticmethod
    def clean(files: Path) -> None:
        for data in files.glob("*/data"):
            subprocess.run(("umount", "-l", str(data)), check=False)

    def _service(self, name: str, command: str) -> Service:
        command = f"{command} --name {name} --data-dir {_ROOT}/data"
        return Service(name, self._hosts[name], self._files / name, command)

    def services(self) -> list[Service]:
        return [self.judicator, *self.executors, *self.gateways]

    def start(self) -> None:
        judicator = self.judicator
        judicator.start()
        wait_until(self._answers, START_TIMEOUT_S, f"the judicator answers: {judicator.log()}")
        # Its later starts continue what is there.
        judicator.command = judicator.command.replace("--init ", "")
        (judicator.folder / "command").write_text(judicator.command)
        for service in (*self.executors, *self.gateways):
            made = f"khala.pex token create --role {service.word} --data-dir {_ROOT}/data"
            token = service.folder / "join"
            token.write_text(judicator.host.run(made))
            token.chmod(0o600)
            service.start()
        self.wait_ready(START_TIMEOUT_S)

    def _answers(self) -> bool:
        url = f"https://{self.judicator.host.address}:4000/readyz"
        stranger = ssl.create_default_context()
        stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(url, timeout=5, context=stranger) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def renew_judicator(self) -> None:
        """A supervisor starts what dies again and again after longer and longer pauses; a row
        that kills begins with a supervisor that has seen nothing yet."""
        self.judicator.restart()
        wait_until(lambda: not self.is_ready(), 30, "the judicator stops")
        self.wait_ready()

    def slowness(self) -> float:
        """How many times longer a process of Khala takes to start than on an idle machine."""
        began = time.monotonic()
        self.gateways[0].host.run("khala.pex version")
        return max(1.0, (time.monotonic() - began) / NOMINAL_START_S)

    def wait_ready(self, timeout_s: float = 90.0) -> None:
        try:
            wait_until(self.is_ready, timeout_s, "every gateway is ready and every slot is free")
        except AssertionError as error:
            logs = "\n".join(f"{s.name}: {s.log()[-1500:]}" for s in self.services())
            raise AssertionError(f"{error}\n{logs}") from None

    def is_ready(self) -> bool:
        return all(self._at_rest(gateway) for gateway in self.gateways)

    def _at_rest(self, gateway: Service) -> bool:
        status, told = self.call(gateway, "GET", "/api/v2/status")
        slots = SLOTS * len(self.executors)
        return status == 200 and told["ready"] and told["slots"] == told["free"] == slots

    # ---- HTTP -------------------------------------------------------------------------------

    def url(self, gateway: Service) -> str:
        return f"http://{gateway.host.address}:{HTTP}"

    def call(
        self,
        gateway: Service,
        method: str,
        path: str,
        document: object = None,
        *,
        key: str | None = None,
        timeout_s: float = 15.0,
    ) -> tuple[int, Any]:
        """Status and JSON; 0 if nobody took the request, -1 if it may have been taken."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(
            self.url(gateway) + path, data=body, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else text.decode()
        except urllib.error.URLError as error:
            return (0 if isinstance(error.reason, ConnectionRefusedError) else -1), str(error)
        except (OSError, ValueError) as error:
            return -1, str(error)

    # ---- failpoints -------------------------------------------------------------------------

    def arm(self, point: str) -> None:
        """The next process that comes by dies there."""
        assert point in POINTS
        (self._files / "failpoints" / point).touch()

    def armed(self, point: str) -> bool:
        return (self._files / "failpoints" / point).exists()

    def disarm(self) -> None:
        for path in (self._files / "failpoints").iterdir():
            path.unlink(missing_ok=True)

    def close(self) -> None:
        for witness in self.witnesses.values():
            witness.close()
