"""What a user has of the cluster, counted on a real mongod; and the door that refuses more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from khala.core.dispatch import Dispatcher
from khala.model.errors import QuotaExceeded
from khala.model.holds import Hold, HoldKey
from khala.model.ids import AttemptNo, Incarnation, JudicatorName, TaskId
from khala.model.outcome import CacheUse, Outcome, Reason, StageOutcome
from khala.model.quota import QUOTA, Quota, ToldQuota, ToldQuotas, Usage
from khala.model.ranges import parse_array
from khala.model.spec import Stage
from khala.model.statements import FinishItem, Lift, RetryItem
from khala.store.dates import utc_now
from khala.store.mongo import MongoStore
from khala.store.quotas import MongoQuotas, midnight
from khala.store.schema import TASKS
from roles.judicator.quotas import Admission
from roles.judicator.quotas_in_force import QuotasInForce
from tests.sim.cost import FreeComm
from tests.store.conftest import opened
from tests.store.mongod import Mongod
from tests.store.samples import FAILURE, SUCCESS, a_lease, a_spec, a_task, finish_item, lease_item
from tests.store.test_jobs import accepted, make

HOLD = Hold(keys=(QUOTA,))


@pytest_asyncio.fixture(loop_scope="session")
async def counted(mongo: MongoStore) -> AsyncIterator[MongoStore]:
    mongo.quotas = MongoQuotas(mongo.database)
    await mongo.quotas.prepare()
    yield mongo
    for name in ("quota", "spent"):
        await mongo.database[TASKS].drop_index(name)


def dispatcher_of(store: MongoStore) -> Dispatcher:
    return Dispatcher(JudicatorName("j"), Incarnation("i"), store.dispatch, FreeComm())


def at_the_door(store: MongoStore, quota: Quota) -> Admission:
    refusals: list[str] = []
    told = ToldQuotas(default=msgspec.convert(quota, ToldQuota, from_attributes=True))
    in_force = QuotasInForce(told, store.quotas)
    return Admission(in_force, store.quotas, dispatcher_of(store), refusals.append)


async def waiting(store: MongoStore, hold: Hold | None = None, user: int = 7) -> TaskId:
    task = replace(a_task(user), hold=hold)
    await store.dispatch.accept(task)
    return task.id


async def admit(door: Admission, user: int = 7, count: int = 1, key: str | None = None) -> None:
    async with door.admitted(user, count, key):
        pass


async def test_tasks_that_only_their_quota_holds_are_found_in_the_order_of_the_queue(
    counted: MongoStore,
) -> None:
    held = [await waiting(counted, HOLD) for _ in range(3)]
    urgent = replace(a_task(priority=50), hold=HOLD)
    await counted.dispatch.accept(urgent)
    held.insert(0, urgent.id)
    later = Hold(keys=(QUOTA,), until=utc_now() + timedelta(hours=1))
    for hold in (None, later, Hold(keys=(QUOTA, HoldKey("after:x"))), Hold(keys=(HoldKey("y"),))):
        await waiting(counted, hold)
    await waiting(counted, HOLD, user=8)
    assert await counted.quotas.find_waiting(7, 9) == held
    assert await counted.quotas.find_waiting(7, 2) == held[:2]
    assert await counted.quotas.find_users() == [7, 8]


async def test_what_is_out_is_all_that_may_run_without_being_asked(counted: MongoStore) -> None:
    for hold in (None, HOLD, Hold(keys=(HoldKey("y"),)), Hold(until=utc_now())):
        await waiting(counted, hold)
    leased = await waiting(counted)
    assert await counted.dispatch.lease_if_queued(lease_item(leased))
    ended = await waiting(counted)
    assert await counted.dispatch.lease_if_queued(lease_item(ended))
    await counted.dispatch.finish_if_attempt(finish_item(ended))
    assert await counted.quotas.count_out(7) == 4
    assert await counted.quotas.count_running(7) == 1
    assert await counted.quotas.count_queued(7) == 4
    assert await counted.quotas.count_out(8) == 0


async def test_tasks_of_jobs_wait_before_they_are_made(counted: MongoStore) -> None:
    job = await accepted(counted, indexes=parse_array("1-50").indexes)
    await make(counted, job, [1, 2, 3])
    await counted.jobs.note_expanded(job.id, 3)
    await accepted(counted, indexes=parse_array("1-9").indexes, user=8)
    assert await counted.quotas.count_queued(7) == 50


async def end(store: MongoStore, outcome: Outcome, at: datetime) -> None:
    task = a_task(lease=a_lease())
    await store.dispatch.accept(task)
    attempt = finish_item(task.id).attempt
    item = FinishItem(id=task.id, attempt=attempt, outcome=outcome, at=at)
    await store.dispatch.finish_if_attempt(item)


async def test_processor_time_is_that_of_the_day(
    counted: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends are summed once: what is older than a minute stands, as does what is known of it."""
    noon = midnight(utc_now()) + timedelta(hours=12)
    stage = StageOutcome(reason=Reason.OK, cpu_user_ms=1500, cpu_system_ms=500)
    outcome = replace(SUCCESS, compile=stage, execute=stage, stage=Stage.EXECUTE)
    cached = replace(outcome, compile=replace(stage, cache=CacheUse.HIT))
    await end(counted, outcome, noon - timedelta(hours=13))
    await end(counted, outcome, noon)
    monkeypatch.setattr("khala.store.quotas.utc_now", lambda: noon + timedelta(seconds=30))
    assert await counted.quotas.cpu_s_today(7) == 4.0
    assert await counted.quotas.cpu_s_today(8) == 0.0
    await end(counted, cached, noon + timedelta(seconds=29))
    for seconds in (30, 300, 301):
        at = noon + timedelta(seconds=seconds)
        monkeypatch.setattr("khala.store.quotas.utc_now", lambda at=at: at)
        assert await counted.quotas.cpu_s_today(7) == 6.0
    monkeypatch.setattr("khala.store.quotas.utc_now", lambda: noon + timedelta(hours=12))
    assert await counted.quotas.cpu_s_today(7) == 0.0


async def test_processor_time_of_tries_that_were_not_the_last_counts(counted: MongoStore) -> None:
    stage = StageOutcome(reason=Reason.EXIT_NONZERO, cpu_user_ms=1500, cpu_system_ms=500)
    task = a_task(lease=a_lease())
    await counted.dispatch.accept(task)
    first = finish_item(task.id).attempt
    failed = replace(FAILURE, execute=stage)
    at = utc_now()
    await counted.dispatch.retry_if_attempt(
        RetryItem(id=task.id, attempt=first, outcome=failed, at=at)
    )
    assert await counted.quotas.count_out(7) == 1
    assert await counted.dispatch.lease_if_queued(lease_item(task.id, first))
    item = FinishItem(id=task.id, attempt=AttemptNo(first + 1), outcome=failed, at=at)
    await counted.dispatch.finish_if_attempt(item)
    assert await counted.quotas.cpu_s_today(7) == 4.0


async def test_bytes_are_summed_in_portions(
    counted: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await waiting(counted)
    await waiting(counted, user=8)
    whole = await counted.quotas.stored_bytes(7)
    monkeypatch.setattr("khala.store.quotas.PORTION", 2)
    assert await counted.quotas.stored_bytes(7) == whole
    assert whole == pytest.approx(5 * await counted.quotas.stored_bytes(8), rel=0.01)


async def test_more_than_may_wait_is_refused_by_name(counted: MongoStore) -> None:
    door = at_the_door(counted, Quota(queued=3))
    for _ in range(2):
        await waiting(counted)
    async with door.admitted(7, 1, None):
        # One is under way: there is no room for another.
        with pytest.raises(
            QuotaExceeded, match=r"may have 3 tasks waiting: 3 wait.*--quota-queued"
        ):
            await admit(door)
        await waiting(counted)
    with pytest.raises(QuotaExceeded, match="3 wait, and this would add 2"):
        await admit(door, count=2)
    await admit(door, user=8, count=3)
    assert (await door.view(7)).used == Usage(queued=3)


async def enters(door: Admission, counted: MongoStore) -> bool:
    try:
        async with door.admitted(7, 1, None):
            await waiting(counted)
    except QuotaExceeded:
        return False
    return True


async def test_what_is_stored_while_it_is_counted_counts_once(
    counted: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roles.judicator.quotas.COUNT_AGE_S", 0.0)
    monkeypatch.setattr("roles.judicator.quotas.SHARE", 0.0)
    door = at_the_door(counted, Quota(queued=20))
    for _ in range(5):
        assert sum(await asyncio.gather(*(enters(door, counted) for _ in range(4)))) == 4
    assert not await enters(door, counted)
    # One is stored, and not over: it is in the count, and in what was added since.
    door = at_the_door(counted, Quota(queued=22))
    async with door.admitted(7, 1, None):
        await waiting(counted)
        last = asyncio.ensure_future(enters(door, counted))
        for _ in range(20):
            await asyncio.sleep(0.01)
    assert await last


async def test_what_is_accepted_here_counts_before_the_store_is_asked_again(
    counted: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of a thousand must not count a thousand times, nor get in more than there is room
    for."""
    asked = 0
    count_queued = counted.quotas.count_queued

    async def asking(user: int) -> int:
        nonlocal asked
        asked += 1
        return await count_queued(user)

    monkeypatch.setattr(counted.quotas, "count_queued", asking)
    monkeypatch.setattr("roles.judicator.quotas.COUNT_AGE_S", 600.0)
    door = at_the_door(counted, Quota(queued=20))

    async def submit() -> bool:
        return await enters(door, counted)

    assert sum(await asyncio.gather(*(submit() for _ in range(50)))) == 20
    assert asked <= 3


async def test_room_that_was_made_elsewhere_is_seen(counted: MongoStore) -> None:
    door = at_the_door(counted, Quota(queued=1))
    async with door.admitted(7, 1, None):
        task = await waiting(counted)
    assert await counted.dispatch.lease_if_queued(lease_item(task))
    await admit(door)


async def test_a_repeated_request_is_answered_though_the_quota_is_used_up(
    counted: MongoStore,
) -> None:
    door = at_the_door(counted, Quota(queued=1))
    await counted.dispatch.accept(a_task(key="k"))
    await admit(door, key="k")
    with pytest.raises(QuotaExceeded):
        await admit(door, key="other")


async def test_stored_bytes_are_refused_by_name(counted: MongoStore) -> None:
    await waiting(counted)
    door = at_the_door(counted, Quota(size_bytes=100))
    with pytest.raises(QuotaExceeded, match=r"may have 0.0 MiB stored.*--quota-bytes"):
        await admit(door)
    await admit(door, user=8)


async def test_a_judicator_that_starts_knows_what_others_left(counted: MongoStore) -> None:
    """Nothing is remembered but in the store: another process lets go of the next."""
    held = [await waiting(counted, HOLD) for _ in range(3)]
    first = at_the_door(counted, Quota(running=1))
    assert await first.lifting.lift(7) is False
    assert await counted.dispatch.lease_if_queued(lease_item(held[0]))
    second = at_the_door(counted, Quota(running=1))
    await second.lifting.lift(7)
    assert await counted.quotas.find_waiting(7, 9) == held[1:]
    await counted.dispatch.finish_if_attempt(finish_item(held[0]))
    await second.lifting.lift(7)
    assert await counted.dispatch.lease_if_queued(lease_item(held[1]))
    assert await counted.quotas.find_waiting(7, 9) == held[2:]


async def test_three_judicators_fill_the_room_once_and_one_goes_on_alone(
    counted: MongoStore, mongod: Mongod
) -> None:
    """Tasks of higher priority come in meanwhile, so that each of them may see another one next."""
    limit, tasks = 2, 12
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(opened(mongod.settings)) for _ in range(2)]
        doors = [at_the_door(each, Quota(running=limit)) for each in (counted, *others)]
        for priority in range(tasks):
            await counted.dispatch.accept(replace(a_task(priority=priority), hold=HOLD))
            await asyncio.gather(*(door.lifting.lift(7) for door in doors))
            assert await counted.quotas.count_out(7) == min(priority + 1, limit)
    ended = 0
    while ended < tasks:
        out = await counted.tasks.find_queued("gcc-13", tasks, 0.0)
        assert 0 < len(out) <= limit
        for each in out:
            assert await counted.dispatch.lease_if_queued(lease_item(each.id))
            await counted.dispatch.finish_if_attempt(finish_item(each.id))
            ended += 1
            await doors[0].lifting.lift(7)


async def test_without_quotas_nothing_stays_held(mongo: MongoStore) -> None:
    tasks = [await waiting(mongo, HOLD) for _ in range(3)]
    await mongo.dispatch.lift_if_held([Lift(id=tasks[0], key=QUOTA)])
    door = at_the_door(mongo, Quota())
    await door.lifting.release()
    for task in tasks:
        assert await mongo.dispatch.lease_if_queued(lease_item(task))
    assert door.hold(a_spec()) is None


async def test_a_quota_costs_a_bounded_look(counted: MongoStore) -> None:
    """However much waits, no more is looked at than may run."""
    for _ in range(60):
        await waiting(counted, HOLD)
    database = counted.database
    await database.command("profile", 2)
    try:
        await at_the_door(counted, Quota(running=2)).lifting.lift(7)
        await counted.quotas.find_users()
    finally:
        await database.command("profile", 0)
    profile = database["system.profile"]
    done = await profile.find({"planSummary": {"$exists": True}}).to_list()
    await profile.drop()
    assert all("COLLSCAN" not in each["planSummary"] for each in done)
    assert sum(each.get("keysExamined", 0) for each in done) < 40
