"""Jobs and what is asked about their members, on MongoDB and on the dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from bson import ObjectId
from msgspec.structs import replace

from khala.model.blob import name_of
from khala.model.capabilities import MEMBER_SINCE
from khala.model.errors import Conflict, NotFound
from khala.model.holds import Hold, HoldKey
from khala.model.ids import JobId, TaskId
from khala.model.job import (
    Job,
    JobSpec,
    NewJob,
    Stop,
    hold_key,
    member_id,
    mint_job_id,
    place_of,
)
from khala.model.outcome import Cancellation
from khala.model.ranges import Indexes, parse_array
from khala.model.spec import Member
from khala.model.statements import AcceptResult, Lift, NewTask, cancelled
from khala.model.task import TaskState
from khala.protocol.jobs import ListJobs
from khala.store.dates import utc_now
from khala.store.mongo import MongoStore
from khala.store.parts import put_blob
from khala.store.schema import TASKS
from tests.store.conftest import Store
from tests.store.samples import FAILURE, SUCCESS, a_lease, a_spec, finish_item, lease_item

TEN = parse_array("1-10").indexes


def a_job(indexes: Indexes = TEN, *, user: int = 7, key: str | None = None, **spec: Any) -> NewJob:
    task = spec.pop("task", a_spec(user))
    return NewJob(
        id=mint_job_id(),
        spec=JobSpec(user=user, name="ten", indexes=indexes, task=task, **spec),
        submitted_at=utc_now(),
        key=key,
        fingerprint=b"f" * 32,
    )


async def accepted(store: Store, **fields: Any) -> Job:
    new = a_job(**fields)
    assert await store.jobs.insert_if_new(new) == AcceptResult(id=TaskId(new.id), replay=False)
    return await store.jobs.get(new.id)


async def make(store: Store, job: Job, positions: Sequence[int], **fields: Any) -> list[TaskId]:
    for position in positions:
        [spec] = await store.expansion.specs_of(job, position, position)
        item = NewTask(id=member_id(job.id, position), spec=spec, submitted_at=utc_now(), **fields)
        assert await store.expansion.insert_if_new([item]) == [
            AcceptResult(id=item.id, replay=False)
        ]
    return [member_id(job.id, position) for position in positions]


async def finish(store: Store, task: TaskId, outcome: Any = SUCCESS) -> None:
    assert await store.dispatch.lease_if_queued(lease_item(task))
    await store.dispatch.finish_if_attempt(finish_item(task, outcome=outcome))


async def test_a_job_comes_back_as_it_was(store: Store) -> None:
    new = a_job(limit=3, max_fails=2, blob=name_of(b"x"))
    await store.jobs.insert_if_new(new)
    job = await store.jobs.get(new.id)
    assert job.spec == new.spec
    assert (job.size, job.expanded, job.open, job.stop, job.counts) == (10, 0, True, None, None)
    assert await store.jobs.insert_if_new(new) == AcceptResult(id=TaskId(new.id), replay=False)
    with pytest.raises(NotFound):
        await store.jobs.get(mint_job_id())


async def test_a_key_is_one_job(store: Store) -> None:
    first, again, other = (a_job(key="k") for _ in range(3))
    await store.jobs.insert_if_new(first)
    assert await store.jobs.insert_if_new(again) == AcceptResult(id=TaskId(first.id), replay=True)
    with pytest.raises(Conflict, match=first.id):
        await store.jobs.insert_if_new(replace(other, fingerprint=b"o" * 32))
    assert (await store.jobs.insert_if_new(replace(other, spec=a_job(user=8).spec))).replay is False


async def test_members_are_made_once_and_counted(store: Store) -> None:
    job = await accepted(store)
    for _ in range(2):
        tasks = await make(store, job, range(1, 7))
    other = await accepted(store)
    await make(store, other, [1])
    await store.dispatch.lease_if_queued(lease_item(tasks[0]))
    for task, outcome in zip(tasks[1:3], (SUCCESS, FAILURE), strict=True):
        await finish(store, task, outcome)
    await store.dispatch.cancel_if_open(tasks[3])
    assert await store.jobs.count_states(job.id) == {
        TaskState.QUEUED: 2,
        TaskState.RUNNING: 1,
        TaskState.SUCCEEDED: 1,
        TaskState.FAILED: 1,
        TaskState.CANCELLED: 1,
    }
    assert await store.jobs.count_open(job.id) == 3
    assert await store.jobs.count_failed(job.id) == 1
    fifth = await store.dispatch.get(tasks[4])
    assert fifth.spec.member == Member(job=job.id, index=5)
    assert place_of(fifth.id) == (job.id, 5)


async def test_members_are_listed_by_position_and_state(store: Store) -> None:
    job = await accepted(store)
    tasks = await make(store, job, [1, 2, 3, 5, 8])
    await finish(store, tasks[1])
    await finish(store, tasks[3], FAILURE)

    async def listed(first: int, last: int, *states: TaskState, limit: int = 9) -> list[int]:
        rows = await store.jobs.list_made(job.id, first, last, states, limit)
        assert all(row.member and row.member.index == place_of(row.id)[1] for row in rows)
        return [place_of(row.id)[1] for row in rows]

    assert await listed(1, 10) == [1, 2, 3, 5, 8]
    assert await listed(2, 5) == [2, 3, 5]
    assert await listed(2, 10, limit=2) == [2, 3]
    assert await listed(1, 10, TaskState.QUEUED) == [1, 3, 8]
    assert await listed(1, 10, TaskState.FAILED, TaskState.SUCCEEDED) == [2, 5]
    assert await listed(3, 10, TaskState.FAILED, TaskState.QUEUED, limit=2) == [3, 5]
    assert await listed(1, 10, TaskState.RUNNING) == []


async def test_a_member_that_ended_before_it_was_made(store: Store) -> None:
    job = await accepted(store)
    [task] = await make(store, job, [4], ended=cancelled())
    assert (await store.dispatch.get(task)).state is TaskState.CANCELLED
    await make(store, job, range(1, 6))
    assert (await store.dispatch.get(task)).state is TaskState.CANCELLED
    assert await store.jobs.count_open(job.id) == 4


async def test_how_far_members_are_made_only_grows(store: Store) -> None:
    job = await accepted(store)
    for position in (3, 7, 5):
        await store.jobs.note_expanded(job.id, position)
    assert (await store.jobs.get(job.id)).expanded == 7


async def test_a_job_stops_once(store: Store) -> None:
    job = await accepted(store)
    assert await store.jobs.stop_if_open(job.id, Stop.MAX_FAILS)
    assert not await store.jobs.stop_if_open(job.id, Stop.CANCELLED)
    stopped = await store.jobs.get(job.id)
    assert (stopped.stop, stopped.version, stopped.open) == (Stop.MAX_FAILS, 1, True)
    assert stopped.stopped_at is not None


async def test_what_is_said_of_a_stop_is_what_was_said_first(store: Store) -> None:
    job = await accepted(store)
    first, second = (Cancellation(by=by, reason="wrong input") for by in ("ann", "ben"))
    assert await store.jobs.stop_if_open(job.id, Stop.CANCELLED, first)
    assert not await store.jobs.stop_if_open(job.id, Stop.CANCELLED, second)
    stopped = await store.jobs.get(job.id)
    assert stopped.cancellation == stopped.member_cancellation == first


async def test_a_job_is_closed_by_who_knows_its_last_change(store: Store) -> None:
    job = await accepted(store)
    counts = {TaskState.CANCELLED: 10}
    await store.jobs.stop_if_open(job.id, Stop.CANCELLED)
    assert not await store.jobs.close_if_version(job.id, job.version, counts)
    assert await store.jobs.close_if_version(job.id, job.version + 1, counts)
    assert not await store.jobs.close_if_version(job.id, job.version + 1, counts)
    closed = await store.jobs.get(job.id)
    assert (closed.open, closed.counts) == (False, counts)
    assert not await store.jobs.stop_if_open(job.id, Stop.CANCELLED)
    assert await store.jobs.find_open(None, 10) == []


async def test_lists_of_jobs(store: Store) -> None:
    jobs = [await accepted(store, user=user) for user in (1, 2, 1, 1)]
    ids = sorted((job.id for job in jobs), reverse=True)
    page = await store.jobs.list_jobs(ListJobs(limit=3))
    assert ([job.id for job in page.jobs], page.more) == (ids[:3], True)
    page = await store.jobs.list_jobs(ListJobs(limit=3, before=page.jobs[-1].id))
    assert ([job.id for job in page.jobs], page.more) == (ids[3:], False)
    mine = await store.jobs.list_jobs(ListJobs(user=2, limit=3))
    assert [job.id for job in mine.jobs] == [jobs[1].id]
    first, second = await store.jobs.find_open(None, 2)
    assert [job.id for job in await store.jobs.find_open(second.id, 9)] == ids[:2][::-1]
    assert first.id == ids[-1]


async def test_entries_and_lists_come_from_blobs(store: Store) -> None:
    entries = msgspec.msgpack.encode(["a", "b c", ""])
    await put_blob(store.blobs, name_of(entries), entries)
    array = await accepted(store, indexes=parse_array("5,7,9").indexes, blob=name_of(entries))
    specs = await store.expansion.specs_of(array, 2, 3)
    assert [spec.member for spec in specs] == [
        Member(job=array.id, index=7, entry="b c"),
        Member(job=array.id, index=9, entry=""),
    ]
    listed = [replace(a_spec(user=n), member=Member(job=JobId(""), index=n)) for n in range(2)]
    encoded = msgspec.msgpack.encode(listed)
    await put_blob(store.blobs, name_of(encoded), encoded)
    job = await accepted(
        store, indexes=parse_array("0-1").indexes, task=None, blob=name_of(encoded)
    )
    [spec] = await store.expansion.specs_of(job, 2, 2)
    member = Member(job=job.id, index=1)
    assert spec == replace(listed[1], member=member, needs=MEMBER_SINCE)


async def test_blobs_of_a_job_stay_before_any_member_is_made(store: Store) -> None:
    for data in (b"entries", b"of members"):
        await put_blob(store.blobs, name_of(data), data)
    new = replace(a_job(blob=name_of(b"entries")), blobs=(name_of(b"of members"),))
    await store.jobs.insert_if_new(new)
    assert await store.blobs.collect(timedelta(seconds=-2)) == 0
    assert len(await store.blobs.touch([name_of(b"entries"), name_of(b"of members")])) == 2


async def test_what_is_asked_of_members_is_answered_from_their_index(mongo: MongoStore) -> None:
    """No collection scan, and no document that is not shown."""
    job = await accepted(mongo, indexes=parse_array("0-199").indexes)
    await make(mongo, job, range(1, 121))
    for position in range(1, 101, 2):
        await finish(mongo, member_id(job.id, position), FAILURE)
    id_ = ObjectId(job.id)
    count = [{"$match": {"job": id_, "state": {"$in": ["queued", "leased"]}}}, {"$count": "n"}]
    group = [
        {"$match": {"job": id_}},
        {"$group": {"_id": {"s": "$state", "e": "$outcome.ending"}, "n": {"$sum": 1}}},
    ]
    for pipeline in (count, group):
        stats = await explained(
            mongo, {"aggregate": TASKS, "pipeline": pipeline, "hint": "members", "cursor": {}}
        )
        assert "COLLSCAN" not in str(stats)
        assert stats["executionStats"]["totalDocsExamined"] == 0
    between = {"$gte": ObjectId(member_id(job.id, 40)), "$lte": ObjectId(member_id(job.id, 200))}
    page = {
        "find": TASKS,
        "filter": {"_id": between, "job": id_, "state": "done", "outcome.ending": "failed"},
        "sort": {"_id": 1},
        "limit": 10,
        "hint": "members",
    }
    stats = await explained(mongo, page)
    assert "COLLSCAN" not in str(stats)
    assert "'SORT'" not in str(stats)
    assert stats["executionStats"]["totalDocsExamined"] == 10
    assert stats["executionStats"]["totalKeysExamined"] <= 11


async def explained(mongo: MongoStore, command: dict[str, Any]) -> dict[str, Any]:
    answer = await mongo.database.command({"explain": command, "verbosity": "executionStats"})
    if "stages" in answer:
        answer = answer["stages"][0]["$cursor"]
    found: dict[str, Any] = answer
    return found


async def test_leases_of_members_are_as_those_of_others(store: Store) -> None:
    job = await accepted(store)
    [task] = await make(store, job, [1])
    assert await store.dispatch.lease_if_queued(lease_item(task, lease=a_lease()))
    brief = (await store.tasks.load_briefs([task]))[0]
    assert brief.member == Member(job=job.id, index=1)


async def test_a_job_is_held_as_it_was_read(store: Store) -> None:
    job = await accepted(store)
    assert job.held is None
    assert await store.jobs.hold_if_version(job.id, job.version, held=True)
    # Said twice, and again when somebody has said something else.
    assert not await store.jobs.hold_if_version(job.id, job.version, held=True)
    held = await store.jobs.get(job.id)
    assert (held.held, held.version) == (True, job.version + 1)
    assert await store.jobs.hold_if_version(job.id, held.version, held=False)
    assert (await store.jobs.get(job.id)).held is False
    assert not await store.jobs.close_if_version(job.id, held.version, {})
    assert await store.jobs.stop_if_open(job.id, Stop.CANCELLED)
    stopped = await store.jobs.get(job.id)
    assert not await store.jobs.hold_if_version(job.id, stopped.version, held=True)
    new = replace(a_job(), held=True)
    await store.jobs.insert_if_new(new)
    assert (await store.jobs.get(new.id)).held is True


async def test_members_that_wait_and_are_not_held_with_their_job(store: Store) -> None:
    job = await accepted(store)
    key = HoldKey("other")
    queued, leased, ended = await make(store, job, [1, 2, 3])
    [waiting] = await make(store, job, [4], hold=Hold(keys=(key,)))
    await make(store, await accepted(store), [1])
    assert await store.dispatch.lease_if_queued(lease_item(leased))
    await finish(store, ended)
    assert await store.expansion.find_unheld(job.id, 9) == [queued, waiting]
    assert len(await store.expansion.find_unheld(job.id, 1)) == 1
    holds = [Lift(id=each, key=hold_key(job.id)) for each in (queued, waiting)]
    await store.dispatch.hold_if_waiting(holds)
    assert await store.expansion.find_unheld(job.id, 9) == []
