"""README's three hosts, word for word: its addresses, its commands, in its order."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, ROOT, wait_until
from tests.hosts.docker import LABEL, PEX_CACHE, docker

pytestmark = pytest.mark.timeout(900)
#: The lines of a block that say on which host they are typed.
_LINE = re.compile(r"^([a-d])\$ (.*)$", re.MULTILINE)
#: Docker hides of /proc and of control groups what the sandbox needs; a real host does not.
_BARE = """
for at in $(grep -o ' /sys/fs/cgroup[^ ]*' /proc/self/mounts); do mount -o remount,bind,rw $at; done
for at in $(grep -o ' /proc/[^ ]*' /proc/self/mounts); do umount $at; done
exec sleep infinity
"""


class Hosts:
    """With the addresses that the document names; a home each, in memory."""

    def __init__(self) -> None:
        self._marks = f"khala-readme-{uuid.uuid4().hex[:8]}"

    def start(self) -> None:
        subnet = ("--subnet", "10.0.0.0/24", "--gateway", "10.0.0.254")
        docker("network", "create", "--label", LABEL, *subnet, self._marks)
        PEX_CACHE.mkdir(exist_ok=True)
        for number, name in enumerate("abcd", start=1):
            docker(
                *("run", "-d", "--init", "--name", self._container(name), "--hostname", name),
                *("--network", self._marks, "--ip", f"10.0.0.{number}", "--label", LABEL),
                *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"),
                *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
                *("--tmpfs", "/root:exec", "--tmpfs", "/var/lib/khala:exec"),
                *("-v", f"{PEX}:/usr/local/bin/khala.pex:ro", "-w", "/root"),
                # Where the fault table's hosts have it: what is unpacked knows its own path.
                *("-v", f"{PEX_CACHE}:/root/.cache/pex"),
                *(os.environ["HOST_IMAGE"], "sh", "-c", _BARE),
            )
        self.run("a", "khala.pex version")

    def _container(self, name: str) -> str:
        return f"{self._marks}-{name}"

    def run(self, name: str, command: str, *, check: bool = True) -> str:
        return docker("exec", self._container(name), "sh", "-c", command, check=check)

    def type(self, name: str, command: str, number: int) -> None:
        """As a person does: what stays is left running when it has said that it works."""
        words = command.partition("#")[0].strip()
        if not words.endswith("&") and not words.startswith("khala.pex executor "):
            self.run(name, words)
            return
        log = f"/root/log-{number}"
        line = f"exec {words.removesuffix('&').strip()} >{log} 2>&1"
        docker("exec", "-d", self._container(name), "sh", "-c", line)
        if " up " in words:
            shown = f"grep -c http:// {log} || true"
            wait_until(lambda: int(self.run(name, shown)), 240, f"{name} serves")

    def carry(self, file: str, source: str, targets: str) -> None:
        content = self.run(source, f"cat {file}")
        for name in targets:
            self.run(name, f"umask 077; echo '{content}' >{file}")

    def close(self) -> None:
        for name in "abcd":
            docker("rm", "-f", self._container(name), check=False)
        docker("network", "rm", self._marks, check=False)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    hosts = Hosts()
    try:
        hosts.start()
        yield hosts
    finally:
        hosts.close()


def lines_of(readme: Path) -> list[tuple[str, str]]:
    """Each command with its host; those of the section alone."""
    section = readme.read_text().partition("\n## Three hosts\n")[2].partition("\n## ")[0]
    return [(found[1], found[2]) for found in _LINE.finditer(section)]


def test_every_command_does_what_the_document_says(hosts: Hosts) -> None:
    lines = lines_of(ROOT / "README.md")
    assert [name for name, _ in lines] == ["a", "a", "b", "c", "a", "a", "d"]
    for number, (name, command) in enumerate(lines):
        hosts.type(name, command, number)
        if "token create" in command:
            hosts.carry("token", "a", "d" if "--role executor" in command else "bc")

    def settled() -> bool:
        shown = hosts.run("a", "khala.pex cluster members", check=False)
        return len(re.findall(r" member +voter +(?:primary|secondary)$", shown, re.MULTILINE)) == 3

    wait_until(settled, 180, "three judicators are members")
    for name in "abc":
        said = hosts.run(name, f"khala.pex run -- echo from {name}")
        assert f"from {name}" in said
    wait_until(
        lambda: len(re.findall(r" executor +online", hosts.run("a", "khala.pex nodes"))) == 4,
        120,
        "four executors are online",
    )
