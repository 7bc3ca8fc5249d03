"""Retention on a real mongod: what has ended is found oldest first, measured, and goes as a whole;
nothing that somebody needs does."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from bson import ObjectId
from msgspec.structs import replace

from khala.model.depends import On, Predecessor, hold_of
from khala.model.errors import NotFound
from khala.model.ids import AttemptNo, JudicatorName, TaskId
from khala.model.job import Job, member_id
from khala.model.outcome import Bundle, Stream, StreamRef
from khala.model.ranges import parse_array
from khala.model.retention import KEY_LIFE, Ended, Forgotten, Retention
from khala.model.statements import ChunkItem, FinishItem
from khala.model.task import TaskState
from khala.store.dates import to_ms, utc_now
from khala.store.mongo import MongoStore
from khala.store.schema import JOBS, TASKS
from roles.judicator.metrics import Metrics
from roles.judicator.retention import Retaining
from tests.store.samples import SUCCESS, a_lease, a_task, lease_item
from tests.store.test_jobs import accepted, finish, make

NOW = to_ms(utc_now())
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
LONG_AGO = NOW - 2 * KEY_LIFE


async def ended(
    store: MongoStore,
    at: datetime,
    *,
    key: str | None = None,
    output_bytes: int = 0,
    name: TaskId | None = None,
) -> TaskId:
    task = a_task(lease=a_lease(), key=key, submitted_at=at - SECOND)
    task = replace(task, id=name or task.id)
    await store.dispatch.accept(task)
    outcome = SUCCESS
    if output_bytes:
        chunk = ChunkItem(
            id=task.id,
            attempt=AttemptNo(1),
            stream=Stream.EXECUTE_OUTPUT,
            n=0,
            data=b"x" * output_bytes,
        )
        await store.outputs.put_chunks([chunk])
        outcome = replace(
            SUCCESS, streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=output_bytes)}
        )
    item = FinishItem(id=task.id, attempt=AttemptNo(1), outcome=outcome, at=at)
    await store.dispatch.finish_if_attempt(item)
    return task.id


async def closed(store: MongoStore, at: datetime, members: int = 3, **fields: str) -> Job:
    """A job whose members have ended, closed at that date."""
    job = await accepted(store, indexes=parse_array(f"1-{members}").indexes, **fields)
    for task in await make(store, job, range(1, members + 1)):
        await finish(store, task)
    await store.jobs.close_if_version(job.id, 0, {TaskState.SUCCEEDED: members})
    dates = {"done_at": at, "submitted_at": at}
    await store.database[JOBS].update_one({"_id": ObjectId(job.id)}, {"$set": dates})
    await store.database[TASKS].update_many({"job": ObjectId(job.id)}, {"$set": dates})
    return await store.jobs.get(job.id)


async def found(store: MongoStore, before: datetime = NOW) -> list[Ended]:
    return [each async for each in store.retention.find_ended(before)]


async def test_what_has_ended_is_found_oldest_first(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("khala.store.ended.PAGE_TASKS", 2)
    monkeypatch.setattr("khala.store.ended.PAGE_JOBS", 1)
    tasks = [await ended(mongo, LONG_AGO + 2 * n * SECOND) for n in range(5)]
    jobs = [await closed(mongo, LONG_AGO + (2 * n + 1) * SECOND) for n in range(3)]
    await ended(mongo, NOW)  # too young
    await accepted(mongo)  # open
    waiting = a_task(submitted_at=LONG_AGO)
    await mongo.dispatch.accept(waiting)
    walk = await found(mongo)
    expected = [tasks[0], jobs[0].id, tasks[1], jobs[1].id, tasks[2], jobs[2].id, *tasks[3:]]
    assert [each.id for each in walk] == expected
    assert [each.job for each in walk] == [False, True] * 3 + [False] * 2
    assert not any(each.needed for each in walk)


async def test_tasks_of_one_moment_are_all_found(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("khala.store.ended.PAGE_TASKS", 2)
    tasks = [await ended(mongo, LONG_AGO) for _ in range(5)]
    assert [each.id for each in await found(mongo)] == sorted(tasks)


async def test_bytes_are_those_of_the_document_and_what_it_left(mongo: MongoStore) -> None:
    plain = await ended(mongo, LONG_AGO)
    large = await ended(mongo, LONG_AGO + SECOND, output_bytes=5000)
    small, great = await found(mongo)
    assert (small.id, great.id) == (plain, large)
    assert 5000 < great.size_bytes - small.size_bytes < 5100
    total = await mongo.retention.stored_bytes()
    assert total == pytest.approx(small.size_bytes + great.size_bytes, abs=200)


async def test_a_job_is_measured_with_its_members(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await closed(mongo, LONG_AGO, members=5)
    await ended(mongo, LONG_AGO)
    [whole] = [each for each in await found(mongo) if each.job]
    measured = await mongo.retention.measure(whole)
    monkeypatch.setattr("khala.store.retention.PORTION", 2)
    assert await mongo.retention.measure(whole) == measured
    docs = mongo.database[TASKS].find_raw_batches({"job": ObjectId(job.id)})
    assert measured.size_bytes == sum([len(batch) async for batch in docs])
    assert measured.tasks == 5


async def test_the_newest_are_counted_by_their_end(mongo: MongoStore) -> None:
    for n in range(4):
        await ended(mongo, LONG_AGO + n * SECOND)
    assert await mongo.retention.date_of_newest(4) is None
    for count in (1, 2, 3):
        date = await mongo.retention.date_of_newest(count)
        assert date == LONG_AGO + (4 - count) * SECOND


async def test_what_a_held_task_waits_for_is_needed(mongo: MongoStore) -> None:
    awaited, other = await ended(mongo, LONG_AGO), await ended(mongo, LONG_AGO + SECOND)
    job = await closed(mongo, LONG_AGO + 2 * SECOND)
    of_job = await closed(mongo, LONG_AGO + 3 * SECOND)
    free = await closed(mongo, LONG_AGO + 4 * SECOND)
    predecessors = (
        Predecessor(id=awaited),
        Predecessor(id=member_id(job.id, 2), on=On.ANY),
        Predecessor(id=TaskId(of_job.id)),
    )
    for each in predecessors:
        await mongo.dispatch.accept(replace(a_task(), hold=hold_of([each])))
    needed = {one.id: one.needed for one in await found(mongo)}
    assert needed == {awaited: True, other: False, job.id: True, of_job.id: True, free.id: False}


async def test_a_key_keeps_what_it_stands_for_for_a_day(mongo: MongoStore) -> None:
    fresh = await ended(mongo, NOW - KEY_LIFE + HOUR, key="a")
    old = await ended(mongo, NOW - KEY_LIFE - HOUR, key="b")
    job = await closed(mongo, NOW - KEY_LIFE + HOUR, key="c")
    needed = {each.id: each.needed for each in await found(mongo)}
    assert needed == {fresh: True, old: False, job.id: True}


async def test_a_job_goes_with_all_of_its_members(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("khala.store.retention.PORTION", 2)
    job, other = await closed(mongo, LONG_AGO, members=5), await closed(mongo, NOW)
    task = await ended(mongo, LONG_AGO, output_bytes=10)
    await mongo.retention.forget(await found(mongo))
    with pytest.raises(NotFound):
        await mongo.jobs.get(job.id)
    assert await mongo.database[TASKS].count_documents({}) == 3
    assert (await mongo.jobs.get(other.id)).id == other.id
    stream = mongo.outputs.read_stream(task, AttemptNo(1), Stream.EXECUTE_OUTPUT)
    assert [chunk async for chunk in stream] == []
    artifacts = mongo.outputs.read_stream(task, AttemptNo(1), Bundle.ARTIFACTS)
    assert [chunk async for chunk in artifacts] == []


async def test_what_has_come_to_life_again_stays(mongo: MongoStore) -> None:
    """The walk is a hint: what it saw may have changed."""
    job = await accepted(mongo)
    [member] = await make(mongo, job, [1])
    waiting = a_task()
    await mongo.dispatch.accept(waiting)
    seen = [
        Ended(id=TaskId(job.id), ended_at=LONG_AGO, job=True),
        Ended(id=member, ended_at=LONG_AGO),
        Ended(id=waiting.id, ended_at=LONG_AGO),
    ]
    await mongo.retention.forget(seen)
    assert (await mongo.jobs.get(job.id)).open
    for task in (member, waiting.id):
        assert await mongo.dispatch.lease_if_queued(lease_item(task))


async def test_members_that_a_crash_left_go_too(mongo: MongoStore) -> None:
    job = await closed(mongo, LONG_AGO, members=4)
    assert [each.job for each in await found(mongo)] == [True]
    await mongo.database[JOBS].delete_many({})  # the first half, and no more
    walk = await found(mongo)
    assert [each.id for each in walk] == [member_id(job.id, n) for n in range(1, 5)]
    await mongo.retention.forget(walk[:1])
    assert await mongo.database[TASKS].count_documents({}) == 0


#: That are younger than what goes.
YOUNG = 60


async def test_the_walk_reads_pages_of_an_index(mongo: MongoStore) -> None:
    """What is younger than what goes is not looked at, nothing is sorted, and no page is longer
    than a page."""
    for n in range(4):
        await closed(mongo, LONG_AGO + n * SECOND, members=2)
    for n in range(3 + YOUNG):
        # Behind the ids of all members, as those of whatever was submitted later are.
        await ended(mongo, LONG_AGO + n * SECOND, name=TaskId(f"{n:06x}".rjust(24, "f")))
    database = mongo.database
    await database.command("profile", 2)
    try:
        walk = await found(mongo, LONG_AGO + 3 * SECOND)
        await mongo.retention.measure(next(each for each in walk if each.job))
    finally:
        await database.command("profile", 0)
    profile = database["system.profile"]
    done = await profile.find({"planSummary": {"$exists": True}}).to_list()
    await profile.drop()
    assert len(walk) == 6
    assert done
    assert all("COLLSCAN" not in each["planSummary"] for each in done)
    assert not any(each.get("hasSortStage") for each in done)
    # Three tasks, three jobs, their members, and the members of one of them again.
    assert sum(each.get("docsExamined", 0) for each in done) < YOUNG


def retaining(mongo: MongoStore, keep: Retention) -> Retaining:
    return Retaining(lambda: keep, mongo.retention, Metrics(JudicatorName("a")))


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (Retention(age_s=2 * 86400.0 + 210.0), [0, 1, 2, 3]),
        (Retention(age_s=86400.0 * 3), []),
        (Retention(count=2), [0, 1, 2]),
        (Retention(count=5), []),
        (Retention(count=4, age_s=86400.0 * 3), [0]),
        (Retention(size_bytes=1), [0, 1, 2, 3, 4]),
        (Retention(size_bytes=1 << 40), []),
    ],
)
async def test_each_bound_removes_the_oldest(
    mongo: MongoStore, keep: Retention, gone: list[int]
) -> None:
    now = utc_now()
    tasks = [await ended(mongo, now - timedelta(days=2, minutes=2 - n)) for n in range(-5, 0)]
    young = await ended(mongo, now - timedelta(minutes=50))
    counted = replace(keep, count=keep.count + 1) if keep.count else keep
    would = await retaining(mongo, counted).forget(counted, dry_run=True)
    assert await mongo.database[TASKS].count_documents({}) == 6
    did = await retaining(mongo, counted).forget(counted)
    assert (would, did.tasks) == (did, len(gone))
    left = [doc["_id"] async for doc in mongo.database[TASKS].find({}, {"_id": 1})]
    assert {str(each) for each in left} == {young} | {
        task for n, task in enumerate(tasks) if n not in gone
    }


async def test_a_round_ends_where_another_word_is_in_force(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take hours; what is asked for by name goes on."""
    monkeypatch.setattr("roles.judicator.retention.STEP", 1)
    for n in range(4):
        await ended(mongo, LONG_AGO + n * SECOND)
    keep = Retention(age_s=3600)
    words = iter([keep] * 5)  # of the round, and twice of each of its first two tasks
    changing = Retaining(
        lambda: next(words, Retention()), mongo.retention, Metrics(JudicatorName("a"))
    )
    did = await changing.forget()
    assert (did.tasks, did.more) == (2, True)
    assert (await changing.forget()).tasks == 0
    assert (await changing.forget(keep)).tasks == 2


async def test_what_was_chosen_by_another_word_stays(mongo: MongoStore) -> None:
    """A step that is not full yet goes with the end of a round, unless more is to be kept now."""
    for n in range(4):
        await ended(mongo, LONG_AGO + n * SECOND)
    keep = Retention(age_s=3600)
    words = iter([keep, keep, keep])  # of the round, and of its first two tasks
    changing = Retaining(
        lambda: next(words, Retention()), mongo.retention, Metrics(JudicatorName("a"))
    )
    did = await changing.forget()
    assert len(await found(mongo)) == 4
    assert (did.tasks, did.more) == (0, True)


async def test_bytes_are_freed_no_further_than_asked(mongo: MongoStore) -> None:
    now = utc_now()
    tasks = [
        await ended(mongo, now - timedelta(days=2, seconds=-n), output_bytes=10_000)
        for n in range(5)
    ]
    allowed = await mongo.retention.stored_bytes() - 15_000
    keep = Retention(size_bytes=allowed)
    did = await retaining(mongo, keep).forget(keep)
    assert did.tasks == 2
    assert did.oldest is not None and did.newest is not None and did.oldest < did.newest
    assert await mongo.retention.stored_bytes() <= allowed
    assert (await retaining(mongo, keep).forget(keep)).tasks == 0
    for task in tasks[2:]:
        assert (await mongo.tasks.get(task)).done_at is not None


async def test_an_answer_that_takes_too_long_says_that_there_is_more(mongo: MongoStore) -> None:
    for n in range(3):
        await ended(mongo, LONG_AGO + n * SECOND)
    keep = Retention(age_s=3600)
    found = await retaining(mongo, keep).forget(keep, deadline=0.0)
    assert found == Forgotten(more=True)
