"""A leader that vanishes is replaced in time, and believes in itself no longer than it may.

It is a process of its own, because a pause stops all of a process; its looks at its own term and
the moment when the other one takes the next term are on the same clock, that of the host.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from khala.coordination.etcd_rpc import EtcdRpc
from khala.coordination.membership import POLL_S, Entry, Identity, Membership
from khala.model.ids import Incarnation, JudicatorName, Term
from khala.model.limits import LEADER_TTL_S
from tests.coord.etcd import Member
from tests.coord.patience import until
from tests.coord.proxy import Proxy

#: etcd looks for expired leases twice a second, and the machine is busy.
SLACK_S = 3.0
TAKE_OVER_S = LEADER_TTL_S + POLL_S + SLACK_S


class Leader:
    """A running `tests.coord.contender`."""

    def __init__(self, process: subprocess.Popen[bytes], looks: Path) -> None:
        self.process = process
        self._looks = looks

    def last_led_at(self) -> float | None:
        """When it last took itself for the leader."""
        led = [line for line in self._read() if line[1] != "-"]
        return float(led[-1][0]) if led else None

    def last_look_at(self) -> float:
        return float(self._read()[-1][0])

    def _read(self) -> list[list[str]]:
        whole, _, _ = self._looks.read_text().rpartition("\n")
        return [line.split() for line in whole.splitlines()]


@contextmanager
def leader(endpoint: str, cluster: str, looks: Path) -> Iterator[Leader]:
    argv = [sys.executable, "-m", "tests.coord.contender", endpoint, cluster, "old", str(looks)]
    log = looks.with_suffix(".log")
    with log.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=out) as process:
        try:
            yield Leader(process, looks)
        finally:
            process.kill()


class Successor:
    """In this process; knows when it took its term."""

    def __init__(self, etcd: EtcdRpc, cluster: str) -> None:
        self.took_at = float("inf")
        entry = Entry(address="new:4000", incarnation=Incarnation("new"))
        identity = Identity(cluster=cluster, name=JudicatorName("new"), entry=entry)
        self.membership = Membership(etcd, identity, self._take_term)

    async def _take_term(self) -> Term:
        self.took_at = time.monotonic()
        return Term(time.monotonic_ns())


async def _vanish(how: str, old: Leader, proxy: Proxy) -> None:
    match how:
        case "killed":
            old.process.kill()
        case "paused":
            old.process.send_signal(signal.SIGSTOP)
        case "cut off":
            proxy.cut()


async def _come_back(how: str, old: Leader, proxy: Proxy) -> None:
    match how:
        case "paused":
            old.process.send_signal(signal.SIGCONT)
        case "cut off":
            proxy.heal()


async def _replaced(how: str, etcd: Member, rpc: EtcdRpc, tmp_path: Path) -> None:
    cluster, looks = f"takeover-{how}", tmp_path / how
    async with Proxy(etcd.client_port) as proxy:
        with leader(proxy.endpoint, cluster, looks) as old:
            await until(looks.exists)
            await until(lambda: old.last_led_at() is not None)
            successor = Successor(rpc, cluster)
            running = asyncio.create_task(successor.membership.run())
            await until(lambda: successor.membership.alive() == {"old-process", "new"})
            assert successor.membership.term() is None
            await _vanish(how, old, proxy)
            vanished_at = time.monotonic()
            await until(lambda: successor.membership.term() is not None)
            assert time.monotonic() - vanished_at < TAKE_OVER_S
            if how != "killed":
                await _come_back(how, old, proxy)
                back_at = time.monotonic()
                await until(lambda: successor.membership.alive() == {"old-process", "new"})
                await until(lambda: old.last_look_at() > back_at + POLL_S)
                assert successor.membership.term() is not None
            last_led_at = old.last_led_at()
            assert last_led_at is not None and last_led_at < successor.took_at
            running.cancel()
            await asyncio.wait({running})
            if how != "killed":
                await until(lambda: (old.last_led_at() or 0.0) > successor.took_at)


async def test_a_leader_that_vanishes_is_replaced(
    etcd: Member, rpc: EtcdRpc, tmp_path: Path
) -> None:
    """All three ways at once, each in a cluster of its own."""
    async with asyncio.TaskGroup() as group:
        for how in ("killed", "paused", "cut off"):
            group.create_task(_replaced(how, etcd, rpc, tmp_path), name=how)
