"""A leader lets go for the one that is named, on a real etcd; whatever that one does then, somebody
leads, and never two at once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from khala.coordination import membership as membership_module
from khala.coordination.etcd_rpc import EtcdRpc, KeyValue
from khala.coordination.handover import Answer, Handover, Wish, answer_wish
from khala.coordination.membership import CALL_S, Membership
from khala.model.errors import NotFound, NotPossible, Unavailable
from khala.model.ids import JudicatorName, Term
from khala.protocol.leadership import Transferred
from tests.coord.etcd import Member
from tests.coord.patience import until
from tests.coord.test_membership import Judicators, leads, sees

A, B, C = JudicatorName("a"), JudicatorName("b"), JudicatorName("c")
POLL_S = 0.2


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership_module, "POLL_S", POLL_S)


@pytest.fixture
async def judicators() -> AsyncIterator[Judicators]:
    async with AsyncExitStack() as stack:
        yield Judicators(stack)


async def three(rpc: EtcdRpc, judicators: Judicators) -> dict[str, Membership]:
    """The first one leads."""
    members = {"a": (await judicators.join(rpc, "a"))[0]}
    await until(leads(members["a"]))
    for name in "bc":
        members[name] = (await judicators.join(rpc, name))[0]
    for member in members.values():
        await until(sees(member, "a-1", "b-1", "c-1"))
    return members


def leading(members: dict[str, Membership]) -> list[str]:
    return [name for name, member in members.items() if member.term() is not None]


async def test_the_one_that_is_named_leads_next_and_alone(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    members = await three(rpc, judicators)
    handover = Handover(rpc, judicators.cluster)
    terms = [members["a"].term()]
    seen: set[tuple[str, ...]] = set()

    async def watch() -> None:
        while True:
            seen.add(tuple(leading(members)))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    try:
        for before, to in ((A, C), (C, B), (B, A)):
            assert await handover.transfer(to) == Transferred(leader=to, before=before)
            await until(leads(members[to]))
            terms.append(members[to].term())
    finally:
        watching.cancel()
    assert terms == [1, 2, 3, 4]
    assert seen <= {(), ("a",), ("b",), ("c",)}
    assert [kv.key for kv in await rpc.list_prefix(f"{judicators.prefix}handover", CALL_S)] == []


async def test_without_a_name_any_other_one_leads(rpc: EtcdRpc, judicators: Judicators) -> None:
    members = await three(rpc, judicators)
    moved = await Handover(rpc, judicators.cluster).transfer(None)
    assert moved.before == A
    assert moved.leader in {B, C}
    await until(leads(members[moved.leader]))


async def test_what_cannot_be_done_is_told_and_nothing_changes(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    handover = Handover(rpc, judicators.cluster)
    with pytest.raises(Unavailable, match="nobody leads just now"):
        await handover.transfer(None)
    only, _ = await judicators.join(rpc, "a")
    await until(leads(only))
    await until(sees(only, "a-1"))
    with pytest.raises(NotPossible, match="a is the only judicator"):
        await handover.transfer(None)
    with pytest.raises(NotFound, match="no judicator 'x'; there are: a"):
        await handover.transfer(JudicatorName("x"))
    assert await handover.transfer(A) == Transferred(leader=A, before=A)
    assert only.term() == 1


async def test_one_that_is_not_ready_says_so_and_another_one_is_asked(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    first, _ = await judicators.join(rpc, "a")
    await until(leads(first))
    await judicators.join(rpc, "b", fit=lambda: False)
    third, _ = await judicators.join(rpc, "c")
    await until(sees(third, "a-1", "b-1", "c-1"))
    handover = Handover(rpc, judicators.cluster)
    with pytest.raises(NotPossible, match="b takes no tasks itself just now; a leads on"):
        await handover.transfer(B)
    assert first.term() == 1
    assert await handover.transfer(None) == Transferred(leader=C, before=A)


async def test_one_that_agreed_and_gets_no_term_costs_no_leader_for_long(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    async def refuse() -> Term:
        raise Unavailable

    first, _ = await judicators.join(rpc, "a")
    await until(leads(first))
    second, _ = await judicators.join(rpc, "b", refuse)
    await until(sees(second, "a-1", "b-1"))
    # It has the claim for moments, which is not told as a success.
    with pytest.raises(NotPossible, match="or leads again because b fell silent"):
        await Handover(rpc, judicators.cluster).transfer(B)
    await until(leads(first))
    assert second.term() is None


async def test_two_at_once_are_one_after_the_other(rpc: EtcdRpc, judicators: Judicators) -> None:
    await three(rpc, judicators)
    lease = await rpc.grant(60, CALL_S)
    key = f"{judicators.prefix}handover"
    await rpc.put(KeyValue(key=key, value=b"nobody", lease=lease), CALL_S)
    handover = Handover(rpc, judicators.cluster)
    with pytest.raises(Unavailable, match="another transfer is under way"):
        await handover.transfer(B)
    await rpc.revoke(lease, CALL_S)
    assert (await handover.transfer(B)).leader == B


@contextmanager
def contender(endpoint: str, cluster: str, looks: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "tests.coord.contender", endpoint, cluster, "old", str(looks)]
    with (
        looks.with_suffix(".log").open("wb") as out,
        subprocess.Popen(argv, stdout=out, stderr=out) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


async def agreeing(rpc: EtcdRpc, prefix: str) -> None:
    """Until the one that is to lead has agreed."""
    async with asyncio.timeout(60):
        while not await rpc.list_prefix(f"{prefix}handover-answer", CALL_S):
            await asyncio.sleep(0.01)


async def _silent(stop: signal.Signals, etcd: Member, rpc: EtcdRpc, looks: Path) -> None:
    """The target is a process of its own, because a pause stops all of a process."""
    async with AsyncExitStack() as stack:
        judicators = Judicators(stack)
        first, _ = await judicators.join(rpc, "a")
        await until(leads(first))
        with contender(etcd.endpoint, judicators.cluster, looks) as process:
            await until(sees(first, "a-1", "old-process"), within_s=60)
            process.send_signal(stop)
            with pytest.raises(NotPossible, match=r"old did not answer within .* a leads on"):
                await Handover(rpc, judicators.cluster).transfer(JudicatorName("old"))
            assert first.term() == 1


async def test_a_target_that_stops_while_it_is_asked_changes_nothing(
    etcd: Member, rpc: EtcdRpc, tmp_path: Path
) -> None:
    """Both ways at once, each in a cluster of its own."""
    async with asyncio.TaskGroup() as group:
        for stop in (signal.SIGSTOP, signal.SIGKILL):
            group.create_task(_silent(stop, etcd, rpc, tmp_path / stop.name))


async def test_a_target_that_stops_after_it_agreed_is_waited_for_no_longer_than_the_wish_lasts(
    rpc: EtcdRpc, judicators: Judicators, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await judicators.join(rpc, "a")
    await until(leads(first))
    second, running = await judicators.join(rpc, "b")
    await until(sees(second, "a-1", "b-1"))

    # It answers, and is gone before the leader has let go.
    async def answer_and_stop(etcd: EtcdRpc, prefix: str, wish: Wish, answer: Answer) -> None:
        await answer_wish(etcd, prefix, wish, answer)
        running.cancel()

    monkeypatch.setattr(membership_module, "answer_wish", answer_and_stop)
    transfer = asyncio.create_task(Handover(rpc, judicators.cluster).transfer(B))
    await agreeing(rpc, judicators.prefix)
    await until(lambda: first.term() is None)
    await until(lambda: first.term() == 2, within_s=60)
    with pytest.raises(NotPossible, match="or leads again because b fell silent"):
        await transfer
