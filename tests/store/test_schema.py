"""The database's own guards: validators, indexes, versions, sizes."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import bson
import pytest
from bson import Int64, ObjectId
from msgspec.structs import replace
from pymongo.errors import WriteError

from khala.model.dates import utc_now
from khala.model.errors import InvariantBroken, Rejected
from khala.model.ids import AttemptNo, ExecutorName, SessionNo
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome, Stream, StreamRef
from khala.model.spec import Part, PartRef, Stage
from khala.model.statements import FinishItem, ProgressItem, RequeueItem
from khala.model.task import Progress
from khala.store.client import database_of
from khala.store.codec import Document, new_task_doc
from khala.store.mongo import MongoStore
from khala.store.schema import DEPENDENT, META, ORDER_KEY, SCHEMA_VERSION, TASKS, ensure_schema
from tests.store.samples import a_lease, a_spec, a_task

HOT_DOCUMENT_BYTES = 1536


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"state": "finished"}},
        {"$set": {"state": "queued"}},
        {"$set": {"state": "held"}},
        {"$set": {"hold": {"keys": ["a"]}}},
        {"$set": {"state": "held", "hold": {"keys": ["a"]}}},
        {"$set": {"state": "held"}, "$unset": {"lease": ""}},
        {"$set": {"state": "done"}},
        {"$set": {"state": "done"}, "$unset": {"lease": ""}},
        {"$unset": {"lease": ""}},
        {"$set": {"outcome": {"ending": "succeeded", "reason": "ok"}}},
        {"$set": {"attempt": Int64(0)}},
        {"$set": {"attempt": 1.5}},
        {"$set": {"attempt": "1"}},
        {"$set": {"result_attempt": Int64(2)}},
        {"$set": {"lease.session": 0}},
        {"$unset": {"lease.claim": ""}},
        {"$unset": {"spec": ""}},
    ],
)
async def test_the_server_refuses_impossible_tasks(mongo: MongoStore, update: Document) -> None:
    task = a_task(lease=a_lease())
    await mongo.dispatch.accept(task)
    before = await mongo.tasks.get(task.id)
    with pytest.raises(WriteError):
        await mongo.database[TASKS].update_one({"_id": ObjectId(task.id)}, update)
    assert await mongo.tasks.get(task.id) == before


async def test_the_server_refuses_a_result_of_another_attempt(mongo: MongoStore) -> None:
    task = a_task(lease=a_lease())
    await mongo.dispatch.accept(task)
    done = {
        "state": "done",
        "outcome": {"ending": "succeeded", "reason": "ok"},
        "done_at": task.submitted_at,
        "result_attempt": Int64(2),
    }
    with pytest.raises(WriteError):
        await mongo.database[TASKS].update_one(
            {"_id": ObjectId(task.id)}, {"$set": done, "$unset": {"lease": ""}}
        )


async def test_a_refused_item_does_not_spoil_its_batch(mongo: MongoStore) -> None:
    impossible = a_task(lease=replace(a_lease(), session=0))
    fine = a_task()
    answers = await mongo.tasks.insert_if_new([impossible, fine])
    assert isinstance(answers[0], InvariantBroken)
    assert (await mongo.tasks.get(fine.id)).id == fine.id


async def test_schema_is_ensured_by_many_at_once(mongo: MongoStore) -> None:
    client = mongo.database.client
    name = "khala_schema_test"
    database = client.get_database(
        name,
        write_concern=database_of(client).write_concern,
        read_concern=database_of(client).read_concern,
    )
    try:
        await asyncio.gather(*(ensure_schema(database) for _ in range(4)))
        await ensure_schema(database)
        indexes = await database[TASKS].index_information()
        waiting = {"order", "held", "dependents", "holds", "due", "expiring"}
        found = {"idem", "user", "time", "endings", "ended", "labels", "blobs", "members", "kept"}
        found.add("priorities")
        waiting |= {"queued_by_date", "held_by_date"}
        assert set(indexes) == {"_id_", "leases"} | found | waiting
        for version, replaced in ((1, "ready"), (2, "queue"), (4, "queue")):
            await database[TASKS].create_index([("state", 1)], name=replaced)
            await database[META].update_one({"_id": "schema"}, {"$set": {"version": version}})
            await asyncio.gather(*(ensure_schema(database) for _ in range(4)))
            assert set(await database[TASKS].index_information()) == set(indexes)
        await database[META].update_one({"_id": "schema"}, {"$set": {"version": 99}})
        with pytest.raises(Rejected, match=f"version 99.*knows {SCHEMA_VERSION}"):
            await ensure_schema(database)
    finally:
        await client.drop_database(name)


async def test_what_waits_since_an_older_version_has_its_place(mongo: MongoStore) -> None:
    now = utc_now()
    tasks = [a_task(image=image, submitted_at=now - timedelta(minutes=3)) for image in ("", "a")]
    leased = a_task(image="a", lease=a_lease(), submitted_at=now - timedelta(minutes=2))
    for task in (*tasks, leased):
        await mongo.dispatch.accept(task)
    await mongo.database[TASKS].update_many({}, {"$unset": {"rank": "", "shape": ""}})
    await mongo.database[META].update_one({"_id": "schema"}, {"$set": {"version": 2}})
    await ensure_schema(mongo.database)
    for task in [a_task(image="a", submitted_at=now - timedelta(minutes=1)), a_task(image="")]:
        await mongo.dispatch.accept(task)
    requeue = RequeueItem(
        id=leased.id,
        attempt=AttemptNo(1),
        executor=ExecutorName("e1"),
        session=SessionNo(1),
        crash=False,
    )
    await mongo.dispatch.requeue_if_leased_by(requeue)
    found = await mongo.dispatch.find_queued("a", 2, -1.0)
    assert [each.id for each in found] == [tasks[1].id, leased.id]
    assert (await mongo.dispatch.find_queued("", 1, -1.0))[0].id == tasks[0].id


async def test_what_waits_is_found_without_reading_what_waits_for_other_images(
    mongo: MongoStore,
) -> None:
    await mongo.tasks.insert_if_new([a_task(image=f"i{n % 4}") for n in range(200)])
    plain = [a_task(image="") for _ in range(3)]
    await mongo.tasks.insert_if_new(plain)
    condition = {"state": "queued", "shape": None}
    query = {"find": TASKS, "filter": condition, "sort": dict(ORDER_KEY[2:])}
    explained = await mongo.database.command({"explain": query, "verbosity": "executionStats"})
    stats = explained["executionStats"]
    assert stats["nReturned"] == 3
    assert stats["totalDocsExamined"] == 3
    assert stats["totalKeysExamined"] <= 5


async def test_a_hot_document_is_small(mongo: MongoStore) -> None:
    """Bytes that are not inline cost the document next to nothing, whatever their number; nor do
    choices that a task does not make, as most do not: cases and a checker of its own are such."""
    asked_for = {Part.CASES, Part.CHECK_SOURCE, Part.CHECK_COMPILE, Part.CHECK_COMMAND}
    big = {
        part: PartRef(size_bytes=1 << 40, sha256=hashlib.sha256(part.encode()).hexdigest())
        for part in set(Part) - asked_for
    }
    name = "executor-with-a-rather-long-name-0123456789"
    task = a_task(user=2**31 - 1, key="k" * 64, lease=a_lease(name, by=name))
    asked: Document = {
        "environment": {},
        "stage_environment": {},
        "labels": {},
        "image": "",
        "name": "",
    }
    plain = replace(a_spec(), parts=big, artifacts=None, **asked)
    task = replace(task, spec=plain)
    assert len(bson.encode(new_task_doc(task))) < HOT_DOCUMENT_BYTES
    await mongo.dispatch.accept(task)
    await mongo.dispatch.progress_if_leased(
        ProgressItem(id=task.id, attempt=AttemptNo(1), progress=Progress.COMPILING)
    )
    stored = await mongo.database[TASKS].find_one({"_id": ObjectId(task.id)})
    assert stored is not None
    assert len(bson.encode(stored)) < HOT_DOCUMENT_BYTES


async def test_an_outcome_survives_the_round_trip(mongo: MongoStore) -> None:
    stage = StageOutcome(
        reason=Reason.MEMORY,
        exit_code=137,
        signal=9,
        limit=8 << 40,
        observed=9 << 40,
        wall_ms=1234,
        cpu_user_ms=1,
        memory_peak_bytes=9 << 40,
        note="killed \x00 at é",
    )
    outcome = Outcome(
        ending=Ending.FAILED,
        reason=Reason.MEMORY,
        stage=Stage.EXECUTE,
        compile=replace(stage, reason=Reason.OK),
        execute=stage,
        streams={
            Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=3, inline=b"\x00\xff\n"),
            Stream.EXECUTE_ERROR: StreamRef(size_bytes=5 << 30),
        },
    )
    task = a_task(lease=a_lease())
    await mongo.dispatch.accept(task)
    await mongo.dispatch.finish_if_attempt(
        FinishItem(id=task.id, attempt=AttemptNo(1), outcome=outcome)
    )
    assert (await mongo.tasks.get(task.id)).outcome == outcome


def _stages(plan: Document) -> set[str]:
    found = {str(plan["stage"])} if "stage" in plan else set()
    for value in plan.values():
        for below in value if isinstance(value, list) else [value]:
            if isinstance(below, dict):
                found |= _stages(below)
    return found


@pytest.mark.parametrize(
    ("condition", "sort"),
    [
        ({}, {"submitted_at": -1, "_id": -1}),
        ({}, {"submitted_at": 1, "_id": 1}),
        ({"user": 1}, {"submitted_at": -1, "_id": -1}),
        ({"user": 1}, {"submitted_at": 1, "_id": 1}),
        ({"state": "queued", "shape": None}, dict(ORDER_KEY[2:])),
        ({"state": "queued", "shape": "gcc-13"}, dict(ORDER_KEY[2:])),
        ({"labels": "hw=3"}, {"submitted_at": -1, "_id": -1}),
        ({"state": "held", "hold.keys": "a"}, {"_id": 1}),
        (DEPENDENT | {"_id": {"$gt": ObjectId()}}, {"_id": 1}),
        ({"state": "held", "hold.until": {"$lte": utc_now()}}, {"hold.until": 1}),
        ({"state": "leased", "lease.executor": "e1"}, None),
        ({"state": "leased"}, None),
    ],
)
async def test_no_question_scans_or_sorts_the_collection(
    mongo: MongoStore, condition: Document, sort: Document | None
) -> None:
    query = {"find": TASKS, "filter": condition}
    if sort:
        query["sort"] = sort
    explained = await mongo.database.command({"explain": query, "verbosity": "queryPlanner"})
    stages = _stages(explained["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in stages
    assert not stages & {"COLLSCAN", "SORT"}
