"""Khala on hosts: which role runs where, and how to reach it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.cluster.faults.failpoints import POINTS
from tests.cluster.faults.quorum import Quorum, probe
from tests.cluster.faults.service import DATA, ROOT, Service
from tests.cluster.faults.witness import Witness
from tests.cluster.harness import wait_until
from tests.hosts.docker import Host

SLOTS = 2
JUDICATORS, EXECUTORS, GATEWAYS = ("j1", "j2", "j3"), ("e1", "e2", "e3"), ("g1", "g2")
HOSTS = (*JUDICATORS, *EXECUTORS, *GATEWAYS)
#: Of each host's file system, in memory: large enough for the work, small enough to be filled.
DISK_BYTES = {"j": 1200 << 20, "e": 700 << 20, "g": 64 << 20}
HTTP = 7000
#: One user whose tasks the executors could run more of at a time than they may.
BOUNDED_USER, BOUNDED_RUNNING = 1, 2
START_TIMEOUT_S = 240.0
TOKEN = "a token of the tests, long enough"


class Cluster:
    """Started with the commands that docs/cluster.md names."""

    def __init__(self, files: Path, hosts: dict[str, Host]) -> None:
        self._files = files
        self._hosts = hosts
        joining = f"--join {JUDICATORS[0]} --join-token-file {ROOT}/join"
        quota = f"--quota-user {BOUNDED_USER}:running={BOUNDED_RUNNING}"
        self.judicators = [
            self._service(
                name,
                f"judicator {joining if number else '--init'} --advertise {name} {quota}",
            )
            for number, name in enumerate(JUDICATORS)
        ]
        self.quorum = Quorum(self.judicators)
        exposed = f"--expose {ROOT}/witness:/opt/witness"
        self.executors = [
            self._service(name, f"executor {joining} --slots {SLOTS} {exposed}")
            for name in EXECUTORS
        ]
        listening = f"--http-bind 0.0.0.0 --http-port {HTTP} --token-file {ROOT}/token"
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
        command = f"{command} --name {name} --data-dir {DATA}"
        return Service(name, self._hosts[name], self._files / name, command)

    def services(self) -> list[Service]:
        return [*self.judicators, *self.executors, *self.gateways]

    # ---- life -------------------------------------------------------------------------------

    def start(self) -> None:
        first, *others = self.services()
        first.start()
        wait_until(lambda: probe(first, "/readyz"), START_TIMEOUT_S, "the first one answers")
        tokens = {
            word: first.host.run(f"khala.pex token create --role {word} --uses 3 --data-dir {DATA}")
            for word in ("judicator", "executor", "gateway")
        }
        for service in others:
            token = service.folder / "join"
            token.write_text(tokens[service.word])
            token.chmod(0o600)
            service.start()
        self.wait_whole(START_TIMEOUT_S)
        for service in self.services():
            service.belong()

    def wait_whole(self, timeout_s: float = 240.0) -> None:
        """Everything serves and has caught up."""
        self._wait(lambda: self._executors_serve() and self._judicators_serve(), timeout_s)

    def wait_executors(self) -> None:
        self._wait(self._executors_serve, 240)

    def wait_judicators(self) -> None:
        self._wait(self._judicators_serve, 240)

    def wait_answers(self, gateway: Service) -> None:
        def answers() -> bool:
            status, told = self.call(gateway, "GET", "/api/v2/status")
            return status == 200 and bool(told["ready"])

        self._wait(answers, 240)

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        try:
            wait_until(condition, timeout_s, "every node is in service")
        except AssertionError as error:
            logs = "\n".join(f"{s.name}: {s.log()[-1500:]}" for s in self.services())
            told = f"{self._told()}\n{self.quorum.members()}"
            raise AssertionError(f"{error}\n{told}\n{logs}") from None

    def is_at_rest(self) -> bool:
        told = self._told()
        return self._executors_serve() and all(each["slots"] == each["free"] for each in told)

    def _executors_serve(self) -> bool:
        """As both gateways tell it."""
        slots = SLOTS * len(self.executors)
        return all(told["ready"] and told["slots"] == slots for told in self._told())

    def _judicators_serve(self) -> bool:
        """As both gateways tell it, and then the databases are asked: that takes a second."""
        return (
            all(
                [each["serving"] for each in told["judicators"]] == [True] * len(JUDICATORS)
                and sum(each["leader"] for each in told["judicators"]) == 1
                for told in self._told()
            )
            and self.quorum.settled()
        )

    def _told(self) -> list[dict[str, Any]]:
        """Status and nodes, by each gateway; empty where it does not answer."""
        found = []
        for gateway in self.gateways:
            (status, told), (known, nodes) = (
                self.call(gateway, "GET", path) for path in ("/api/v2/status", "/api/v2/nodes")
            )
            silent = {"ready": False, "slots": 0, "free": 0, "judicators": []}
            found.append({**told, **nodes} if status == known == 200 else silent)
        return found

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

    @contextlib.contextmanager
    def armed_for(self, point: str) -> Iterator[Callable[[], bool]]:
        """Until this is left; yields whether the point still waits for somebody."""
        assert point in POINTS
        file = self._files / "failpoints" / point
        file.touch()
        try:
            yield file.exists
        finally:
            file.unlink(missing_ok=True)

    def close(self) -> None:
        for witness in self.witnesses.values():
            witness.close()
