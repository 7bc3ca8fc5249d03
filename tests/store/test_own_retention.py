"""Tasks that say themselves how long they are kept, on a real mongod: they go then and not before,
nothing else does, and looking for them costs what there is to be found."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from bson import ObjectId
from msgspec.structs import replace

from khala.model.depends import Predecessor, hold_of
from khala.model.errors import NotFound
from khala.model.ids import AttemptNo, JobId, JudicatorName, TaskId, mint_nonce
from khala.model.patch import Patch
from khala.model.retention import KEPT_S, KEY_LIFE, Ended, Retention, removal_date
from khala.model.statements import FinishItem
from khala.store.dates import to_ms, utc_now
from khala.store.mongo import MongoStore
from khala.store.schema import JOBS, LEAVING, TASKS
from roles.judicator.metrics import Metrics
from roles.judicator.retention import Retaining
from tests.store.conftest import Store
from tests.store.samples import SUCCESS, a_lease, a_task
from tests.store.test_jobs import accepted, finish, make
from tests.store.test_retention import closed

#: When this was collected, which may be long before it runs: what must not be due has hours left.
NOW = to_ms(utc_now())
MINUTE = timedelta(minutes=1)


async def ended(
    store: Store, ago: timedelta, keep_s: int | None = None, *, key: str | None = None
) -> TaskId:
    task = a_task(lease=a_lease(), key=key, submitted_at=NOW - ago)
    task = replace(task, spec=replace(task.spec, retention_s=keep_s))
    await store.dispatch.accept(task)
    item = FinishItem(id=task.id, attempt=AttemptNo(1), outcome=SUCCESS, at=NOW - ago)
    await store.dispatch.finish_if_attempt(item)
    return task.id


async def due(store: MongoStore, now: datetime = NOW) -> list[Ended]:
    return [each async for each in store.retention.find_due(now)]


async def ids_due(store: MongoStore, now: datetime = NOW) -> list[str]:
    return [each.id for each in await due(store, now)]


def retaining(mongo: MongoStore, keep: Retention = Retention()) -> Retaining:  # noqa: B008
    return Retaining(lambda: keep, mongo.retention, Metrics(JudicatorName("a")))


async def test_what_is_due_is_found_by_length_and_date(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("khala.store.ended.PAGE_TASKS", 2)
    hour = [await ended(mongo, n * MINUTE, 3600) for n in (90, 80, 70, 61, 59, 1)]
    short = [await ended(mongo, n * MINUTE, 120) for n in (5, 3, 1)]
    await ended(mongo, 900 * MINUTE)  # says nothing
    waiting = a_task(submitted_at=NOW - 900 * MINUTE)
    await mongo.dispatch.accept(replace(waiting, spec=replace(waiting.spec, retention_s=60)))
    assert await ids_due(mongo) == [*short[:2], *hour[:4]]
    assert [each.keep_s for each in await due(mongo)] == [120] * 2 + [3600] * 4
    assert await ids_due(mongo, NOW - 120 * MINUTE) == []
    assert await ids_due(mongo, NOW + 1000 * MINUTE) == [*short, *hour]


async def test_a_look_costs_a_step_for_each_length(mongo: MongoStore) -> None:
    """However many have ended that are not due, or say nothing, and whatever they say."""
    for n in range(40):
        await ended(mongo, timedelta(seconds=n), 3600 + 60 * (n % 2))
        await ended(mongo, 900 * MINUTE)
    one = await ended(mongo, 90 * MINUTE, 3660)
    database = mongo.database
    await database.command("profile", 2)
    try:
        assert await ids_due(mongo) == [one]
    finally:
        await database.command("profile", 0)
    profile = database["system.profile"]
    done = await profile.find({"planSummary": {"$exists": True}}).to_list()
    await profile.drop()
    assert any("DISTINCT_SCAN" in each["planSummary"] for each in done)
    assert all("COLLSCAN" not in each["planSummary"] for each in done)
    assert not any(each.get("hasSortStage") for each in done)
    assert sum(each.get("docsExamined", 0) for each in done) == 1
    assert sum(each.get("keysExamined", 0) for each in done) < 12


async def test_only_those_that_say_so_are_in_the_index(mongo: MongoStore) -> None:
    for _ in range(3):
        await ended(mongo, 90 * MINUTE)
    waiting = a_task()
    await mongo.dispatch.accept(replace(waiting, spec=replace(waiting.spec, retention_s=60)))
    said = await ended(mongo, 90 * MINUTE, 60)
    keys = mongo.database[TASKS].find({"keep_s": {"$gt": 0}, "done_at": {"$gt": NOW - KEY_LIFE}})
    found = await keys.hint("kept").to_list()
    assert [str(doc["_id"]) for doc in found] == [said]


async def test_they_go_without_any_rule_and_nothing_else_does(mongo: MongoStore) -> None:
    gone = await ended(mongo, 5 * MINUTE, 240)
    kept = [await ended(mongo, 5 * MINUTE, 36_000), await ended(mongo, 900 * MINUTE)]
    would = await retaining(mongo).forget(Retention(), dry_run=True)
    assert (would.tasks, would.own) == (1, 1)
    assert (await mongo.tasks.get(gone)).done_at == NOW - 5 * MINUTE
    assert await retaining(mongo).forget(Retention()) == would
    with pytest.raises(NotFound):
        await mongo.tasks.get(gone)
    for task in kept:
        assert (await mongo.tasks.get(task)).done_at is not None


async def test_each_is_counted_once_beside_a_rule(mongo: MongoStore) -> None:
    keep = Retention(age_s=7200)
    for n in (121, 130, 140):
        await ended(mongo, n * MINUTE, 3600)
        await ended(mongo, n * MINUTE)
    await ended(mongo, 70 * MINUTE, 3600)
    await ended(mongo, 70 * MINUTE)
    would = await retaining(mongo).forget(keep, dry_run=True)
    assert (would.tasks, would.own) == (7, 4)
    assert (would.oldest, would.newest) == (NOW - 140 * MINUTE, NOW - 70 * MINUTE)
    assert await retaining(mongo).forget(keep) == would
    assert await mongo.database[TASKS].count_documents({}) == 1


async def test_what_somebody_needs_stays(mongo: MongoStore) -> None:
    awaited = await ended(mongo, 90 * MINUTE, 60)
    keyed = await ended(mongo, 50 * MINUTE, 60, key="k")
    await ended(mongo, 70 * MINUTE, 60, key="an hour is over")
    await mongo.dispatch.accept(replace(a_task(), hold=hold_of([Predecessor(id=awaited)])))
    assert {each.id: each.needed for each in await due(mongo)}.items() >= {
        (awaited, True),
        (keyed, True),
    }
    found = await retaining(mongo).forget(Retention())
    assert (found.tasks, found.needed) == (1, 2)
    assert removal_date(await mongo.tasks.get(keyed)) == NOW + 10 * MINUTE


async def test_a_person_may_say_otherwise_at_any_time(store: Store) -> None:
    task = await ended(store, 90 * MINUTE, 60)
    read = await store.tasks.get(task)
    assert removal_date(read) == NOW - 89 * MINUTE
    for patch, kept in (
        (Patch(retention_s=7200), 7200),
        (Patch(name="other"), 7200),
        (Patch(drops_retention=True), None),
        (Patch(retention_s=3600), 3600),
    ):
        item = patch.item(await store.tasks.get(task), mint_nonce())
        changed = await store.dispatch.patch_if_next(item)
        assert changed is not None and changed.spec.retention_s == kept
        assert changed == await store.tasks.get(task)
        assert (removal_date(changed) is None) == (kept is None)
    # What was seen before does not count any more.
    assert await store.forgetting.forget_if_done([task], 60) == [task]
    assert await store.forgetting.forget_if_done([task], 3600) == []


async def test_a_change_decides_when_it_goes(mongo: MongoStore) -> None:
    task = await ended(mongo, 90 * MINUTE)
    assert await ids_due(mongo) == []
    for patch, found in (
        (Patch(retention_s=3600), [task]),
        (Patch(retention_s=7200), []),
        (Patch(retention_s=60), [task]),
    ):
        item = patch.item(await mongo.tasks.get(task), mint_nonce())
        assert await mongo.dispatch.patch_if_next(item) is not None
        assert await ids_due(mongo) == found
    [seen] = await due(mongo)
    item = Patch(drops_retention=True).item(await mongo.tasks.get(task), mint_nonce())
    await mongo.dispatch.patch_if_next(item)
    await mongo.retention.forget_due([seen])
    assert (await mongo.tasks.get(task)).id == task


async def test_a_job_goes_as_one_and_not_within_the_hour(mongo: MongoStore) -> None:
    job = await accepted(mongo, retention_s=60)
    silent = await closed(mongo, NOW - 900 * MINUTE)
    members = await make(mongo, job, [1, 2])
    for member in members:
        await finish(mongo, member)
    assert await ids_due(mongo, NOW + KEY_LIFE) == []  # open
    await mongo.jobs.close_if_version(job.id, 0, {})
    closed_at = (await mongo.database[JOBS].find_one({"_id": ObjectId(job.id)}) or {})["done_at"]
    assert await ids_due(mongo, closed_at + timedelta(seconds=KEPT_S - 1)) == []
    [seen] = await due(mongo, closed_at + timedelta(seconds=KEPT_S + 1))
    assert (seen.id, seen.job, seen.keep_s) == (TaskId(job.id), True, 60)
    await mongo.retention.forget_due([seen])
    for member in members:
        with pytest.raises(NotFound):
            await mongo.tasks.get(member)
    assert (await mongo.jobs.get(silent.id)).id == silent.id
    assert await mongo.database[LEAVING].count_documents({}) == 0


async def test_members_whose_removal_was_cut_off_go_in_the_next_round(mongo: MongoStore) -> None:
    job, other = await closed(mongo, NOW, members=3), await closed(mongo, NOW, members=2)
    for each in (job, other):
        await mongo.database[LEAVING].insert_one({"_id": ObjectId(each.id)})
    await mongo.database[JOBS].delete_one({"_id": ObjectId(job.id)})  # the first half, and no more
    await retaining(mongo).forget(Retention())
    left = mongo.database[TASKS].find({}, {"job": 1})
    assert {str(doc["job"]) async for doc in left} == {other.id}
    assert (await mongo.jobs.get(JobId(other.id))).id == other.id
    assert await mongo.database[LEAVING].count_documents({}) == 0
