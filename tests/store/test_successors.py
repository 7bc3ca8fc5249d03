"""What waits for a job, on a real mongod."""

from __future__ import annotations

from msgspec.structs import replace

from khala.model.depends import On, Predecessor, hold_of
from khala.model.ids import JobId, TaskId, mint_task_id
from khala.model.job import member_id, mint_job_id
from khala.model.spec import Member
from khala.model.statements import Lift
from khala.model.task import Dispatch
from khala.store.mongo import MongoStore
from tests.growth.filling import Filling
from tests.growth.probes import Probe, work_of
from tests.store.samples import a_spec, a_task


async def waiting(mongo: MongoStore, *before: Predecessor, job: JobId | None = None) -> TaskId:
    task = replace(a_task(), hold=hold_of(before))
    if job is not None:
        spec = replace(a_spec(), member=Member(job=job, index=0))
        task = replace(task, id=member_id(job, 1), spec=spec)
    await mongo.dispatch.accept(task)
    return task.id


async def test_what_waits_for_a_job_or_one_of_its_tasks_is_found(mongo: MongoStore) -> None:
    job, other, later = mint_job_id(), mint_job_id(), mint_job_id()
    whole, third = Predecessor(id=TaskId(job)), Predecessor(id=member_id(job, 3), on=On.ANY)
    elsewhere = Predecessor(id=mint_task_id())
    first = await waiting(mongo, whole, elsewhere)
    second = await waiting(mongo, third)
    member = await waiting(mongo, third, whole, job=later)
    begun = await waiting(mongo, whole)
    await mongo.dispatch.lift_if_held([Lift(id=begun, key=whole.key)])
    assert (await mongo.tasks.get(begun)).dispatch is Dispatch.QUEUED
    await waiting(mongo, Predecessor(id=TaskId(other)), elsewhere)
    found = {each.id: each for each in await mongo.successors.find(job, 9)}
    assert set(found) == {first, second, member}
    assert found[first].waits_for == (whole,)
    assert found[second].waits_for == (third,)
    assert set(found[member].waits_for) == {whole, third}
    assert found[member].member == Member(job=later, index=0)
    assert found[first].name == "a+b" and found[first].member is None
    assert len(await mongo.successors.find(job, 2)) == 2


async def test_it_costs_what_is_shown(mongo: MongoStore) -> None:
    job = mint_job_id()
    probe = Probe(name="successors", ask=lambda store, _: store.successors.find(job, 5))
    works = []
    for count in (8, 40):
        for _ in range(count):
            await waiting(mongo, Predecessor(id=TaskId(job)))
            await waiting(mongo, Predecessor(id=mint_task_id()))
        works.append(await work_of(probe, mongo, Filling(mongo)))
    assert works[0].documents == works[1].documents == 5
