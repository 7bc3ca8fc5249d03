"""Sessions, audits, terms and the pulse, on MongoDB and on the dictionary."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from khala.model.capabilities import CAPABILITY
from khala.model.errors import NameTaken, NotFound
from khala.model.executor import ImageInfo, SessionState
from khala.model.ids import (
    AttemptNo,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
    Term,
)
from khala.model.spec import Network
from khala.model.statements import Lease
from tests.store.conftest import Store
from tests.store.samples import a_hello, a_lease, a_task, finish_item

E1, E2 = ExecutorName("e1"), ExecutorName("e2")
JUST_NOW = timedelta(seconds=-1)


async def held(store: Store, lease: Lease) -> TaskId:
    task = a_task(lease=lease)
    await store.dispatch.accept(task)
    return task.id


async def test_the_first_session_of_a_name(store: Store) -> None:
    opened = await store.dispatch.open_session(a_hello())
    assert (opened.session, opened.previous, opened.previous_boot) == (1, None, None)
    [record] = await store.dispatch.list_executors()
    assert (record.name, record.session, record.boot) == ("e1", 1, "b1")
    assert (record.state, record.slots) == (SessionState.ONLINE, 4)
    assert len(record.id) == 24


async def test_all_that_an_executor_says_of_itself_is_kept(store: Store) -> None:
    said = replace(
        a_hello(),
        images=(ImageInfo(name="gcc-13", identity="3f0c", size_bytes=5),),
        networks=(Network.NONE, Network.FULL),
        speaks=CAPABILITY,
        capacity={"cpus": 4000},
        labels={"zone": "north"},
    )
    await store.dispatch.open_session(said)
    [record] = await store.dispatch.list_executors()
    for field in set(said.__struct_fields__) & set(record.__struct_fields__):
        assert getattr(record, field) == getattr(said, field), field


async def test_each_hello_opens_the_next_session(store: Store) -> None:
    await store.dispatch.open_session(a_hello())
    [before] = await store.dispatch.list_executors()
    opened = await store.dispatch.open_session(a_hello(boot="b2"))
    assert (opened.session, opened.previous) == (2, before)
    assert opened.previous_boot == "b1"
    [after] = await store.dispatch.list_executors()
    assert (after.id, after.boot) == (before.id, "b2")


async def test_a_name_is_its_process_s_while_that_is_connected(judicators: list[Store]) -> None:
    here, there = judicators[0].dispatch, judicators[1].dispatch
    await here.open_session(a_hello())
    await judicators[0].sessions.touch_sessions([E1])
    with pytest.raises(NameTaken):
        await there.open_session(a_hello(boot="b2"))
    assert (await there.open_session(a_hello())).session == 2


async def test_a_name_is_free_when_its_process_parted_or_was_lost(store: Store) -> None:
    await store.dispatch.open_session(a_hello())
    await store.sessions.touch_sessions([E1])
    await store.sessions.part_sessions([E1])
    assert (await store.dispatch.open_session(a_hello(boot="b2"))).session == 2
    await store.sessions.touch_sessions([E1])
    await store.dispatch.expire_session(E1, SessionNo(2))
    assert (await store.dispatch.open_session(a_hello(boot="b3"))).session == 3


async def test_a_name_is_free_when_nobody_noted_its_process_for_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.dispatch.open_session(a_hello())
    await store.sessions.touch_sessions([E1])
    for module in ("khala.store.sessions", "khala.store.memory"):
        monkeypatch.setattr(f"{module}.NAME_HELD_S", -1.0)
    assert (await store.dispatch.open_session(a_hello(boot="b2"))).session == 2


async def test_racing_hellos_get_different_numbers(judicators: list[Store]) -> None:
    opened = await asyncio.gather(
        *(store.dispatch.open_session(a_hello()) for store in judicators for _ in range(10))
    )
    assert sorted(one.session for one in opened) == list(range(1, 31))


async def test_expiry_needs_the_current_session_and_can_be_repeated(store: Store) -> None:
    await store.dispatch.open_session(a_hello())
    await store.dispatch.open_session(a_hello())
    assert not await store.dispatch.expire_session(E1, SessionNo(1))
    assert not await store.dispatch.expire_session(E2, SessionNo(1))
    assert (await store.dispatch.list_executors())[0].state is SessionState.ONLINE
    assert await store.dispatch.expire_session(E1, SessionNo(2))
    assert await store.dispatch.expire_session(E1, SessionNo(2))
    assert (await store.dispatch.list_executors())[0].state is SessionState.LOST


async def test_a_hello_brings_a_lost_executor_back(store: Store) -> None:
    await store.dispatch.open_session(a_hello())
    await store.dispatch.expire_session(E1, SessionNo(1))
    opened = await store.dispatch.open_session(a_hello())
    assert opened.session == 2
    assert (await store.dispatch.list_executors())[0].state is SessionState.ONLINE


async def test_a_forgotten_executors_numbers_go_on(store: Store) -> None:
    for name in ("e1", "e2"):
        await store.dispatch.open_session(a_hello(name))
    await store.dispatch.expire_session(E1, SessionNo(1))
    assert await store.sessions.forget_lost(timedelta(hours=1)) == 0
    assert await store.sessions.forget_lost(JUST_NOW) == 1
    assert await store.sessions.forget_lost(JUST_NOW) == 0
    assert [record.name for record in await store.dispatch.list_executors()] == ["e2"]
    assert (await store.dispatch.open_session(a_hello())).session == 2
    assert len(await store.dispatch.list_executors()) == 2


async def test_one_that_is_lost_is_forgotten_at_once(store: Store) -> None:
    for name in ("e1", "e2"):
        await store.dispatch.open_session(a_hello(name))
    assert not await store.sessions.forget_if_lost(E1)
    assert len(await store.dispatch.list_executors()) == 2
    await store.dispatch.expire_session(E1, SessionNo(1))
    assert await store.sessions.forget_if_lost(E1)
    assert [record.name for record in await store.dispatch.list_executors()] == ["e2"]
    for unknown in (E1, ExecutorName("nobody")):
        with pytest.raises(NotFound, match=f"there is no executor '{unknown}'"):
            await store.sessions.forget_if_lost(unknown)
    # Its name, and its numbers, are still known.
    assert (await store.dispatch.open_session(a_hello())).session == 2
    assert len(await store.dispatch.list_executors()) == 2


async def test_touching_moves_the_date_of_the_named(store: Store) -> None:
    for name in ("e1", "e2"):
        await store.dispatch.open_session(a_hello(name))
    before = await store.dispatch.list_executors()
    await asyncio.sleep(0.005)
    await store.sessions.touch_sessions([E1, ExecutorName("unknown")])
    after = await store.dispatch.list_executors()
    assert after[0].seen_at > before[0].seen_at
    assert after[1] == before[1]
    assert len(after) == 2


async def test_leases_of_earlier_sessions(store: Store) -> None:
    old = await held(store, a_lease(session=1))
    new = await held(store, a_lease(session=2))
    await held(store, a_lease("e2"))
    assert [one.id for one in await store.dispatch.leases_of(E1, SessionNo(1))] == [old]
    both = await store.dispatch.leases_of(E1, SessionNo(2))
    assert {one.id for one in both} == {old, new}
    assert {one.attempt for one in both} == {1}


async def test_the_owners_audit_shows_rows_and_all_leases(store: Store) -> None:
    for name in ("e1", "e2"):
        await store.dispatch.open_session(a_hello(name))
    mine = [await held(store, a_lease(session=n)) for n in (1, 2)]
    await held(store, a_lease("e2"))
    view = await store.dispatch.audit_own([E1, ExecutorName("unknown")])
    assert [record.name for record in view.records] == ["e1"]
    assert {lease.id for lease in view.leases} == set(mine)


async def test_the_leaders_audit_finds_leases_without_a_session(store: Store) -> None:
    await store.dispatch.open_session(a_hello("e1"))
    await store.dispatch.open_session(a_hello("e2"))
    fine = await held(store, a_lease("e1", session=1))
    lost = await held(store, a_lease("e2", session=1))
    unknown = await held(store, a_lease("e3", session=1))
    ended = await held(store, a_lease("e3", session=1))
    await store.dispatch.finish_if_attempt(finish_item(ended))
    assert {one.id for one in await store.dispatch.audit_all()} == {unknown}
    await store.dispatch.expire_session(E2, SessionNo(1))
    assert {one.id for one in await store.dispatch.audit_all()} == {unknown, lost}
    await store.dispatch.open_session(a_hello("e1"))
    found = await store.dispatch.audit_all()
    assert {one.id for one in found} == {unknown, lost, fine}
    assert {one.attempt for one in found} == {AttemptNo(1)}


async def test_each_leader_starts_a_new_term(judicators: list[Store]) -> None:
    terms = [
        await store.sessions.take_leadership(JudicatorName(f"j{n}"), Incarnation("i"))
        for n, store in enumerate(judicators)
    ]
    assert terms == [1, 2, 3]
    assert [await judicators[0].sessions.check_term(term) for term in terms] == [False, False, True]


async def test_no_term_before_the_first_leader(store: Store) -> None:
    assert not await store.sessions.check_term(Term(1))


async def test_the_pulse_can_beat_again(store: Store) -> None:
    for _ in range(3):
        await store.sessions.pulse(JudicatorName("j1"))
