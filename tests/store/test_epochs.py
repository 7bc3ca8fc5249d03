"""After a recovery nothing of before can be recorded, and nothing that waits is lost."""

from __future__ import annotations

from msgspec.structs import replace

from khala.model.ids import AttemptNo, ExecutorName, Incarnation, JobId, JudicatorName, TaskId
from khala.model.statements import FinishResult
from khala.model.task import Dispatch
from khala.protocol.members import Member
from khala.store.epochs import JUMP, Epoch, Kept, begin_epoch
from khala.store.mongo import MongoStore
from khala.store.roster import MongoRoster
from khala.store.schema import JUDICATORS, TOKENS
from tests.store.samples import a_hello, a_lease, a_task, finish_item
from tests.store.test_jobs import a_job

EPOCH = Epoch(cluster="c1", number=1, judicator="a")


def member(name: str) -> Member:
    return Member(
        name=JudicatorName(name), rpc=name, mongodb=name, etcd_client=name, etcd_peer=name
    )


async def test_what_an_executor_had_waits_again_and_its_result_is_refused(
    mongo: MongoStore,
) -> None:
    await mongo.dispatch.open_session(a_hello())
    leased, waiting, ended = a_task(lease=a_lease()), a_task(), a_task(lease=a_lease())
    for task in (leased, waiting, ended):
        await mongo.dispatch.accept(task)
    await mongo.dispatch.finish_if_attempt(finish_item(ended.id))
    kept = await begin_epoch(mongo.database, EPOCH)
    assert kept == Kept(tasks=3, unfinished=2, interrupted=1)
    found = await mongo.tasks.get(leased.id)
    assert (found.dispatch, found.attempt, found.executor) == (Dispatch.QUEUED, 1 + JUMP, None)
    assert (await mongo.tasks.get(waiting.id)).attempt == JUMP
    assert (await mongo.tasks.get(ended.id)).dispatch is Dispatch.DONE
    assert not await mongo.dispatch.adopt_if_attempt(leased.id, AttemptNo(1), a_lease(session=9))
    assert await mongo.dispatch.finish_if_attempt(finish_item(leased.id)) is FinishResult.STALE
    assert (await mongo.dispatch.open_session(a_hello(boot="b2"))).session == 2 + JUMP


async def test_numbers_jump_once_however_often_it_is_repeated(mongo: MongoStore) -> None:
    task = a_task()
    await mongo.dispatch.accept(task)
    term = await mongo.sessions.take_leadership(JudicatorName("a"), Incarnation("i1"))
    for epoch in (EPOCH, EPOCH, replace(EPOCH, number=2), replace(EPOCH, cluster="c2")):
        await begin_epoch(mongo.database, epoch)
    assert (await mongo.tasks.get(task.id)).attempt == 3 * JUMP
    after = await mongo.sessions.take_leadership(JudicatorName("a"), Incarnation("i1"))
    assert after == term + 3 * JUMP + 1


async def test_a_member_of_a_job_that_is_made_later_has_a_number_of_its_own(
    mongo: MongoStore,
) -> None:
    job = a_job()
    await mongo.jobs.insert_if_new(job)
    await begin_epoch(mongo.database, EPOCH)
    [found] = await mongo.expansion.find_open(None, 10)
    assert (JobId(found.id), found.attempts_before) == (job.id, JUMP)
    made = replace(a_task(), attempts_before=found.attempts_before)
    await mongo.expansion.insert_if_new([made])
    assert (await mongo.tasks.get(TaskId(made.id))).attempt == JUMP


async def test_the_others_and_every_token_go(mongo: MongoStore) -> None:
    roster = MongoRoster(mongo.database)
    await mongo.database[JUDICATORS].delete_many({})
    await mongo.database[TOKENS].insert_one({"_id": "t"})
    for name in "abc":
        await roster.enter(member(name))
    await begin_epoch(mongo.database, EPOCH)
    assert [(each.name, each.standing) for each in await roster.all()] == [("a", "member")]
    assert await mongo.database[TOKENS].count_documents({}) == 0
    await mongo.database[JUDICATORS].delete_many({})


async def test_an_executor_of_before_is_shown_as_lost(mongo: MongoStore) -> None:
    await mongo.dispatch.open_session(a_hello())
    await begin_epoch(mongo.database, EPOCH)
    [record] = await mongo.dispatch.list_executors()
    assert (record.name, record.state) == (ExecutorName("e1"), "lost")
