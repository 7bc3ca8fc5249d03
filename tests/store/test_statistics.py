"""What ended, added up on a real mongod: what counts, once, and what asking costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from msgspec.structs import replace

from khala.model.attempts import AttemptEnd
from khala.model.cases import Judgement, Verdict
from khala.model.executor import JudicatorRecord
from khala.model.ids import (
    AttemptNo,
    ExecutorName,
    Incarnation,
    SessionNo,
    TaskId,
    Term,
    mint_task_id,
)
from khala.model.outcome import Outcome, Reason, StageOutcome
from khala.model.statements import FinishItem, LeaseItem, RequeueItem, RetryItem, cancelled
from khala.model.statistics import DAYS, HOURS, MINUTES, floor, quantile
from khala.net.loop import end_all
from khala.protocol.statistics import ReadStatistics
from khala.store import statistics
from khala.store.mongo import MongoStore
from khala.store.schema import STATISTICS, TASKS
from khala.store.statistics import Tallies, add_recent
from roles.judicator import statistics as rounds
from tests.growth.filling import Filling
from tests.growth.probes import Probe, work_of
from tests.store.samples import FAILURE, SUCCESS, a_lease, a_task, finish_item

NOW = datetime(2026, 11, 28, 13, 30, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
USED = StageOutcome(reason=Reason.OK, cpu_user_ms=1500, cpu_system_ms=500)


class Clock:
    """The store's, for as long as a test says."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(statistics, "utc_now", clock)
    return clock


async def go_on() -> bool:
    return True


async def stop() -> bool:
    return False


async def ask(mongo: MongoStore, start: datetime, end: datetime, step_s: int = 60) -> Tallies:
    """As a judicator answers."""
    query = ReadStatistics(start=start, end=end, step_s=step_s)
    recent = await mongo.statistics.read_recent()
    sums = await mongo.statistics.read(query, recent.upto)
    add_recent(sums, recent, query)
    return sums


async def ask_all(mongo: MongoStore, step_s: int = 60) -> Tallies:
    day = floor(NOW, DAYS.step_s)
    return await ask(mongo, day - timedelta(days=9), day + timedelta(days=1), step_s)


async def end(
    mongo: MongoStore,
    at: datetime,
    outcome: Outcome = SUCCESS,
    *,
    wait_s: float = 0.0,
    run_s: float = 0.0,
) -> TaskId:
    started = at - timedelta(seconds=run_s)
    task = a_task(submitted_at=started - timedelta(seconds=wait_s))
    await mongo.dispatch.accept(task)
    lease = LeaseItem(id=task.id, attempt=AttemptNo(0), lease=a_lease(), at=started)
    assert await mongo.dispatch.lease_if_queued(lease)
    await mongo.dispatch.finish_if_attempt(replace(finish_item(task.id, outcome=outcome), at=at))
    return task.id


async def fill(mongo: MongoStore, dates: list[datetime]) -> None:
    """Copies of one that ended."""
    model = await mongo.database[TASKS].find_one({"_id": ObjectId(await end(mongo, dates[0]))})
    docs: list[dict[str, Any]] = [
        {
            **(model or {}),
            "_id": ObjectId(mint_task_id()),
            **dict.fromkeys(("submitted_at", "started_at", "done_at"), at),
        }
        for at in dates[1:]
    ]
    if docs:
        await mongo.database[TASKS].insert_many(docs, ordered=False)


def totals(tallies: Tallies) -> dict[datetime, int]:
    return {at: tally.ended.total() for at, tally in sorted(tallies.items())}


async def stored(mongo: MongoStore) -> list[dict[str, Any]]:
    return await mongo.database[STATISTICS].find().sort("_id", 1).to_list()


async def test_a_minute_says_how_its_tasks_ended(mongo: MongoStore, clock: Clock) -> None:
    at = floor(NOW, 60) - 10 * MINUTE
    judged = replace(SUCCESS, execute=USED, judgement=Judgement(verdict=Verdict.WA))
    await end(mongo, at, judged, wait_s=8, run_s=3)
    await end(mongo, at + timedelta(seconds=59.9), replace(FAILURE, execute=USED), wait_s=8)
    unstarted = a_task(submitted_at=at)
    await mongo.dispatch.accept(unstarted)
    assert await mongo.dispatch.end_if_waiting(unstarted.id, cancelled())
    doc = {"done_at": at + timedelta(seconds=5)}
    await mongo.database[TASKS].update_one({"_id": ObjectId(unstarted.id)}, {"$set": doc})
    [(minute, tally)] = (await ask_all(mongo)).items()
    assert minute == at
    assert tally.ended == Counter(succeeded=1, failed=1, cancelled=1)
    assert tally.verdicts == Counter(WA=1)
    assert tally.cpu_ms == 4000
    assert tally.wait.total() == tally.run.total() == 2
    assert quantile(tally.wait, 0.5) == pytest.approx(8, rel=0.091)
    assert quantile(tally.run, 0.95) == pytest.approx(3, rel=0.091)
    before = await ask_all(mongo)
    await mongo.statistics.roll_up(go_on)
    assert await ask_all(mongo) == before
    # It outlives the tasks.
    await mongo.database[TASKS].delete_many({})
    assert await ask_all(mongo) == before


async def test_a_task_of_several_attempts_counts_once_with_all_of_them(
    mongo: MongoStore, clock: Clock
) -> None:
    """It has waited until the first of them began, and run for as long as the last one."""
    began = floor(NOW, 60) - 30 * MINUTE
    task = a_task(submitted_at=began - timedelta(seconds=4))
    await mongo.dispatch.accept(task)
    lease = a_lease()
    for attempt, minutes in enumerate((0, 2, 4)):
        leased_at = began + minutes * MINUTE
        item = LeaseItem(id=task.id, attempt=AttemptNo(attempt), lease=lease, at=leased_at)
        assert await mongo.dispatch.lease_if_queued(item)
        number = AttemptNo(attempt + 1)
        if attempt == 0:
            lost = RequeueItem(
                id=task.id,
                attempt=number,
                executor=ExecutorName(lease.executor),
                session=SessionNo(lease.session),
                crash=True,
            )
            await mongo.dispatch.requeue_if_leased_by(lost)
        elif attempt == 1:
            failed = replace(FAILURE, execute=USED)
            again = RetryItem(id=task.id, attempt=number, outcome=failed, at=leased_at)
            await mongo.dispatch.retry_if_attempt(again)
    ended_at = began + 5 * MINUTE
    outcome = replace(SUCCESS, execute=USED)
    last = FinishItem(id=task.id, attempt=AttemptNo(3), outcome=outcome, at=ended_at)
    await mongo.dispatch.finish_if_attempt(last)
    assert [each.end for each in (await mongo.tasks.get(task.id)).past] == [
        AttemptEnd.EXECUTOR_LOST,
        AttemptEnd.RETRIED,
    ]
    [(at, tally)] = (await ask_all(mongo)).items()
    assert (at, tally.ended.total(), tally.retries, tally.losses) == (ended_at, 1, 1, 1)
    assert tally.cpu_ms == 4000
    assert quantile(tally.wait, 0.5) == pytest.approx(4, rel=0.091)
    assert quantile(tally.run, 0.5) == pytest.approx(60, rel=0.091)


async def test_an_end_that_is_recorded_late_is_not_missed(mongo: MongoStore, clock: Clock) -> None:
    """As long as it comes under its date within the two minutes that are waited for."""
    minute = floor(NOW, 60) - 2 * MINUTE
    await end(mongo, minute + timedelta(seconds=1))
    await mongo.statistics.roll_up(go_on)
    assert [doc for doc in await stored(mongo) if doc["_id"] != "upto"] == []
    late = minute + timedelta(seconds=59)
    await end(mongo, late)
    assert totals(await ask_all(mongo)) == {minute: 2}
    clock.now = minute + 3 * MINUTE
    await mongo.statistics.roll_up(go_on)
    assert len(await stored(mongo)) == 2
    assert totals(await ask_all(mongo)) == {minute: 2}


async def test_whoever_leads_next_does_the_rest_once(
    mongo: MongoStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that lead at once, one that stops in the middle, and one that stood still meanwhile."""
    monkeypatch.setattr(statistics, "STATISTICS_PORTION", 7)
    first = floor(NOW, 60) - 90 * MINUTE
    dates = [first + n * timedelta(seconds=13) for n in range(300)]
    await fill(mongo, dates)
    expected = dict(Counter(floor(at, 60) for at in dates))
    await mongo.statistics.roll_up(stop)
    begun = await stored(mongo)
    assert 1 < len(begun) < 10
    assert totals(await ask_all(mongo)) == expected
    await asyncio.gather(*(mongo.statistics.roll_up(go_on) for _ in range(3)))
    whole = await stored(mongo)
    assert totals(await ask_all(mongo)) == expected
    assert sum(totals(await ask_all(mongo, 3600)).values()) == len(dates)
    # What it knew is old; the tasks of one minute are gone already.
    await mongo.database[TASKS].delete_many({"done_at": {"$lt": first + MINUTE}})
    await mongo.database[STATISTICS].update_one({"_id": "upto"}, {"$set": {"at": first}})
    await mongo.statistics.roll_up(go_on)
    assert await stored(mongo) == whole


async def test_hours_and_days_are_made_of_minutes(mongo: MongoStore, clock: Clock) -> None:
    """After days without a leader, too."""
    first = floor(NOW, DAYS.step_s) - timedelta(days=4) + timedelta(hours=5)
    dates = [first + n * timedelta(minutes=97) for n in range(60)]
    dates += [NOW - timedelta(minutes=3), NOW - timedelta(seconds=5)]
    await fill(mongo, dates)
    clock.now = first + timedelta(hours=30)
    await mongo.statistics.roll_up(go_on)
    clock.now = NOW
    await mongo.statistics.roll_up(go_on)
    ids = [doc["_id"].partition(":")[0] for doc in await stored(mongo)]
    assert {"00060", "03600", "86400"} <= set(ids)
    await mongo.database[TASKS].delete_many({"done_at": {"$lt": NOW - 4 * MINUTE}})
    for step_s in (60, 300, 3600, 86_400):
        expected = Counter(floor(at, step_s) for at in dates)
        assert totals(await ask_all(mongo, step_s)) == dict(sorted(expected.items()))
    # The end of what is asked for is one, also within what is stored.
    day = floor(first, DAYS.step_s)
    some = await ask(mongo, day, day + timedelta(days=2), HOURS.step_s)
    assert max(some) < day + timedelta(days=2)


async def test_what_was_kept_for_its_time_goes(mongo: MongoStore, clock: Clock) -> None:
    first = floor(NOW, DAYS.step_s) - timedelta(days=8)
    await fill(mongo, [first + timedelta(hours=n) for n in range(8 * 24)])
    await mongo.statistics.roll_up(go_on)
    before = await ask_all(mongo, DAYS.step_s)
    await mongo.statistics.forget_old()
    counts = Counter(doc["_id"].partition(":")[0] for doc in await stored(mongo))
    assert counts["00060"] < 5 * 24 and counts["03600"] == 8 * 24 and counts["86400"] == 8
    assert await ask_all(mongo, DAYS.step_s) == before
    # From 14:00 three days ago to the end of yesterday.
    recent = await ask(mongo, floor(NOW - MINUTES.kept, 60), NOW)
    assert len(recent) == 10 + 24 + 24
    clock.now = NOW + DAYS.kept + timedelta(days=3)
    await mongo.statistics.roll_up(go_on)
    await mongo.statistics.forget_old()
    assert [doc["_id"] for doc in await stored(mongo)] == ["upto"]


async def test_what_nobody_added_up_is_answered_as_far_as_a_question_goes(
    mongo: MongoStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "STATISTICS_PORTION", 50)
    monkeypatch.setattr(statistics, "STATISTICS_RECENT", 200)
    first = floor(NOW, 60) - 60 * MINUTE
    recent_probe = Probe(name="recent", ask=lambda store, _: store.statistics.read_recent())
    dates = [first + n * timedelta(seconds=1) for n in range(400)]
    await fill(mongo, dates)
    recent = await mongo.statistics.read_recent()
    assert recent.complete_to == floor(dates[200], 60)
    found = recent.tallies[first]
    assert found.ended == Counter(succeeded=60)
    short = await work_of(recent_probe, mongo, Filling(mongo))
    await fill(mongo, [at + timedelta(minutes=10) for at in dates * 3])
    long = await work_of(recent_probe, mongo, Filling(mongo))
    assert long.reads <= short.reads + 20, (short, long)
    await mongo.statistics.roll_up(go_on)
    assert (await mongo.statistics.read_recent()).complete_to == NOW
    assert sum(totals(await ask_all(mongo)).values()) == 4 * 400


async def test_a_question_costs_what_is_stored_of_it_however_many_ended(
    mongo: MongoStore, clock: Clock
) -> None:
    first = floor(NOW, DAYS.step_s) - timedelta(days=2)
    dates = [first + n * timedelta(minutes=30) for n in range(96)]
    query = ReadStatistics(start=first, end=first + timedelta(days=2), step_s=HOURS.step_s)
    probe = Probe(name="day", ask=lambda store, _: store.statistics.read(query, NOW))
    work = []
    for times in (1, 10):
        await mongo.database[STATISTICS].delete_many({})
        await fill(mongo, dates * times)
        await mongo.statistics.roll_up(go_on)
        work.append(await work_of(probe, mongo, Filling(mongo)))
    assert work[0] == work[1]
    assert work[0].documents == 48


class Election:
    """Whose turn it is to lead."""

    def __init__(self) -> None:
        self.leads = False
        self.asked = 0

    def term(self) -> Term | None:
        self.asked += 1
        return Term(1) if self.leads else None

    def alive(self) -> set[Incarnation]:
        return set()

    def judicators(self) -> list[JudicatorRecord]:
        return []


async def met(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_only_the_leader_adds_up(
    mongo: MongoStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "INTERVAL_S", 0.01)
    monkeypatch.setattr(statistics, "STATISTICS_PORTION", 5)
    first = floor(NOW, 60) - 60 * MINUTE
    await fill(mongo, [first + n * MINUTE for n in range(50)])
    election = Election()

    async def asked_often() -> bool:
        return election.asked > 5

    async def whole() -> bool:
        return len(await stored(mongo)) > 50

    loop = asyncio.create_task(rounds.Statistics(mongo.statistics).run(election))
    await met(asked_often)
    assert await stored(mongo) == []
    election.leads = True
    await met(whole)
    await end_all([loop])
    assert sum(totals(await ask_all(mongo)).values()) == 50


async def test_a_leader_that_leads_no_more_stops_behind_a_portion(
    mongo: MongoStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "STATISTICS_PORTION", 5)
    first = floor(NOW, 60) - 60 * MINUTE
    await fill(mongo, [first + n * MINUTE for n in range(50)])
    await mongo.statistics.roll_up(rounds.Pace(Election()).rest)
    assert 1 < len(await stored(mongo)) <= 6


async def test_a_store_without_ends_has_nothing_to_add_up(mongo: MongoStore, clock: Clock) -> None:
    await mongo.statistics.roll_up(go_on)
    await mongo.statistics.forget_old()
    assert await stored(mongo) == []
    assert await ask_all(mongo) == {}
