"""A host that is a Docker container, and what can be done to it from outside.

Processes are found and signalled from the machine below, by the container's control group: what is
to be killed cannot be asked to help, and nothing in a container has to work for a fault to happen.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.cluster.harness import PEX

#: What the file unpacks, kept between runs: doing it takes every host's processors.
PEX_CACHE = PEX.parent / "hosts-pex"
#: On whatever is made here: `build/test` takes away what a killed run has left.
LABEL = "khala.tests"
#: On a host that has work.
BUSY_PROCESSES = 2


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ("docker", *arguments), capture_output=True, text=True, timeout=240, check=False
    )
    assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.strip()


class Host:
    def __init__(self, name: str, container: str) -> None:
        self.name = name
        self._container = container
        self._id = docker("inspect", "-f", "{{.Id}}", container)
        self._network = self._inspect("{{$name}}")
        self.address = self._inspect("{{$network.IPAddress}}")
        self._rules: list[str] = []
        #: This machine, as the hosts reach it.
        self.below = self._inspect("{{$network.Gateway}}")

    def _inspect(self, what: str) -> str:
        each = "{{range $name, $network := .NetworkSettings.Networks}}" + what + "{{end}}"
        return docker("inspect", "-f", each, self._container)

    # ---- the machine ------------------------------------------------------------------------

    def lose_power(self) -> None:
        """Every process ends at once; what is on its disks stays."""
        docker("kill", self._container)

    def boot(self) -> None:
        docker("start", self._container)
        self.address = self._inspect("{{$network.IPAddress}}")

    def unplug(self) -> None:
        docker("network", "disconnect", self._network, self._container)

    def plug_in(self) -> None:
        docker("network", "connect", "--alias", self.name, self._network, self._container)
        self.address = self._inspect("{{$network.IPAddress}}")

    def run(self, command: str, *, check: bool = True) -> str:
        return docker("exec", self._container, "sh", "-c", command, check=check)

    def start(self, command: str) -> None:
        """In the background, as a service manager would."""
        docker("exec", "-d", self._container, "sh", "-c", command)

    # ---- processes --------------------------------------------------------------------------

    def pids(self) -> dict[int, list[str]]:
        """Arguments of every living process in here, by its number on the machine below."""
        found: dict[int, list[str]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if self._id in (entry / "cgroup").read_text():
                    argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if argv != [""]:
                        found[int(entry.name)] = argv
        return found

    def pids_of(self, *words: str) -> list[int]:
        """Processes with all of these among their arguments: a role's word, a program, a name."""
        return [
            pid
            for pid, argv in sorted(self.pids().items())
            if all(any(Path(each).name == word for each in argv) for word in words)
        ]

    def signal(self, number: signal.Signals, *words: str) -> int:
        """To every such process; how many there were."""
        count = 0
        for pid in self.pids_of(*words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                count += 1
        return count

    def kill9(self, *words: str) -> None:
        assert self.signal(signal.SIGKILL, *words), f"no process of {words} on {self.name}"

    def freeze(self, *words: str) -> None:
        assert self.signal(signal.SIGSTOP, *words), f"no process of {words} on {self.name}"

    def thaw(self, *words: str) -> None:
        self.signal(signal.SIGCONT, *words)

    # ---- the network ------------------------------------------------------------------------

    def cut(self, port: int, *, answer: bool = False) -> None:
        """Nothing gets to that port of this host, or from it; with `answer` it is refused."""
        if answer:
            self._add(f"INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset")
        else:
            self._add(f"INPUT -p tcp --dport {port} -j DROP")
            self._add(f"INPUT -p tcp --sport {port} -j DROP")

    def ignore(self, other: Host, port: int) -> None:
        """Nothing of that host gets to a port of this one."""
        self._add(f"INPUT -p tcp -s {other.address} --dport {port} -j DROP")

    def lose(self, share: float) -> None:
        """Packets, at random."""
        self._add(f"INPUT -p tcp -m statistic --mode random --probability {share} -j DROP")

    def detour(self, port: int, to: int, address: str = "0.0.0.0/0") -> None:
        """What this host connects to that port for goes to a port of this machine instead."""
        target = f"{self.below}:{to}"
        self._add(f"OUTPUT -t nat -p tcp -d {address} --dport {port} -j DNAT --to {target}")

    def _add(self, rule: str) -> None:
        self.run(f"iptables -A {rule}")
        self._rules.append(rule)

    def heal(self) -> None:
        """One by one: among the others are those that make names of hosts known."""
        while self._rules:
            self.run(f"iptables -D {self._rules.pop()}")

    # ---- the processors ---------------------------------------------------------------------

    def weight_file(self) -> Path:
        """Of all hosts together, among everything else on the machine below."""
        pid = docker("inspect", "-f", "{{.State.Pid}}", self._container)
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        paths = {names: path for _, names, path in (each.split(":", 2) for each in groups)}
        for names, path in paths.items():
            if "cpu" in names.split(","):
                return Path(f"/sys/fs/cgroup/{names}{path}").parent / "cpu.shares"
        return Path(f"/sys/fs/cgroup{paths['']}").parent / "cpu.weight"


@contextlib.contextmanager
def weighed(hosts: Collection[Host]) -> Iterator[None]:
    """Until this is left, the machine below shares its processors with hosts as with processes.

    Containers are in one control group, and that weighs as much as one process beside it. On a
    machine that is busy otherwise, eight hosts would have the time of one process between them,
    and judicators would lose their leases for no fault of theirs.
    """
    file = next(iter(hosts)).weight_file()
    try:
        before = int(file.read_text())
    except FileNotFoundError:  # no group but the root of all, or one without this controller
        yield
        return
    file.write_text(str(before * BUSY_PROCESSES * len(hosts)))
    try:
        yield
    finally:
        file.write_text(str(before))
