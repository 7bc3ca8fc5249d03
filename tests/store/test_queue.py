"""The queue as people look at it, on a real mongod: its order, its bounds, and what it costs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId
from msgspec.structs import replace

from khala.model.errors import NotFound
from khala.model.holds import Hold
from khala.model.ids import TaskId, mint_task_id
from khala.model.limits import QUEUE_LINES_MERGED, QUEUE_LINES_SHOWN
from khala.model.order import AGEING_S
from khala.model.statements import NewTask
from khala.model.wants import Wants
from khala.protocol.queue import QueuePlace, ReadQueue, UserLoad
from khala.store import queue
from khala.store.dates import utc_now
from khala.store.mongo import MongoStore
from khala.store.schema import TASKS
from tests.growth.filling import Filling
from tests.growth.probes import Probe, work_of
from tests.store.samples import a_spec, a_task, lease_item

GPU = Wants(amounts={"gpu": 1})


def waiting(age_s: float, user: int = 7, **of_spec: Any) -> NewTask:
    spec = a_spec(user, **{"image": "", **of_spec})
    return NewTask(id=mint_task_id(), spec=spec, submitted_at=utc_now() - timedelta(seconds=age_s))


async def test_lines_of_all_shapes_are_one_queue(mongo: MongoStore) -> None:
    ages: list[NewTask] = [
        waiting(4000, wants=GPU),
        waiting(3000 - 20 * AGEING_S, priority=20, image="gcc-13"),
        waiting(2500),
        waiting(2000, wants=GPU, image="gcc-13"),
        waiting(1000, image="gcc-13"),
        waiting(5000 - 70 * AGEING_S, priority=-70),
    ]
    tied = utc_now() - timedelta(seconds=500)
    tasks = [*ages[:5], *(replace(waiting(0, user=8), submitted_at=tied) for _ in range(3))]
    late = ages[5]
    for task in (late, *reversed(tasks)):
        await mongo.dispatch.accept(task)
    head = await mongo.queue.read(ReadQueue(limit=500))
    assert [each.id for each in head.tasks] == [each.id for each in (*tasks, late)]
    assert [each.position for each in head.tasks] == list(range(1, 10))
    assert not head.more
    assert head.tasks[0].wants == GPU and head.tasks[1].image == "gcc-13"
    # It has waited longest of those that are next for their shape.
    assert head.oldest == (await mongo.tasks.get(tasks[0].id)).submitted_at
    for each in head.tasks:
        place = await mongo.queue.find_place(each.id)
        assert (place.position, place.exact) == (each.position, True)
    first = await mongo.queue.read(ReadQueue(limit=3))
    assert (first.tasks, first.more) == (head.tasks[:3], True)
    of_user = await mongo.queue.read(ReadQueue(user=8, limit=2))
    assert (of_user.tasks, of_user.more) == (head.tasks[5:7], True)
    assert (await mongo.queue.read(ReadQueue(user=9, limit=2))).tasks == []


async def test_lines_are_told_with_their_lengths(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted together, up to a number."""
    monkeypatch.setattr(queue, "LIST_TOTAL_MAX", 6)
    tasks = [waiting(900, wants=GPU), *(waiting(800 - n) for n in range(4))]
    tasks += [waiting(100 - n, image="gcc-13") for n in range(3)]
    for task in reversed(tasks):
        await mongo.dispatch.accept(task)
    found = await mongo.queue.find_lines()
    assert [(each.first.id, each.queued, each.exact) for each in found.lines] == [
        (tasks[0].id, 1, True),
        (tasks[1].id, 4, True),
        (tasks[5].id, 1, False),
    ]
    assert found.lines[0].first.spec.wants == GPU and not found.more
    monkeypatch.setattr(queue, "QUEUE_LINES_SHOWN", 2)
    short = await mongo.queue.find_lines()
    assert (short.lines, short.more) == (found.lines[:2], True)


async def test_what_is_not_in_the_queue_has_no_place(mongo: MongoStore) -> None:
    held = replace(a_task(), hold=Hold(until=utc_now() + timedelta(hours=1)))
    leased, queued = a_task(), a_task()
    for task in (held, leased, queued):
        await mongo.dispatch.accept(task)
    assert await mongo.dispatch.lease_if_queued(lease_item(leased.id))
    for task in (held, leased):
        assert await mongo.queue.find_place(task.id) == QueuePlace(position=None)
        assert await mongo.queue.find_ahead(task.id) == QueuePlace(position=None)
    assert await mongo.queue.find_place(queued.id) == QueuePlace(position=1, ahead=0)
    assert await mongo.queue.find_ahead(queued.id) == QueuePlace(position=None, ahead=0)
    with pytest.raises(NotFound):
        await mongo.queue.find_place(mint_task_id())
    totals = await mongo.queue.count()
    assert (totals.queued, totals.held) == (1, 1)


async def test_those_before_it_are_counted_in_its_own_line(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for image in ("gcc-13", ""):
        tasks = [a_task(image=image, priority=n % 2) for n in range(6)]
        for task in tasks:
            await mongo.dispatch.accept(task)
        in_turn = sorted(tasks, key=lambda each: each.spec.priority, reverse=True)
        for ahead, task in enumerate(in_turn):
            assert await mongo.queue.find_ahead(task.id) == QueuePlace(position=None, ahead=ahead)
            assert (await mongo.queue.find_place(task.id)).ahead == ahead
    monkeypatch.setattr("khala.store.queue.AHEAD_MAX", 3)
    found = [(await mongo.queue.find_ahead(task.id)).ahead for task in in_turn]
    assert found == [0, 1, 2, None, None, None]


async def test_users_are_counted_by_what_waits_and_runs(mongo: MongoStore) -> None:
    until = Hold(until=utc_now() + timedelta(hours=1))
    tasks = [a_task(1), a_task(1), replace(a_task(2), hold=until), a_task(3), a_task(3), a_task(3)]
    for task in tasks:
        await mongo.dispatch.accept(task)
    for task in tasks[4:]:
        assert await mongo.dispatch.lease_if_queued(lease_item(task.id))
    loads = await mongo.queue.count_users()
    assert loads.exact
    assert loads.users == [
        UserLoad(user=3, queued=1, running=2),
        UserLoad(user=1, queued=2),
        UserLoad(user=2, held=1),
    ]


async def test_an_empty_queue_is_one(mongo: MongoStore) -> None:
    head = await mongo.queue.read(ReadQueue(limit=5))
    assert (head.tasks, head.more, head.oldest) == ([], False, None)
    assert (await mongo.queue.count_users()).users == []


async def test_of_too_many_lines_the_order_is_told_as_far_as_it_is_known(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "QUEUE_LINES_MERGED", 2)
    tasks = [
        waiting(900),
        waiting(800, image="a"),
        waiting(700),
        waiting(600, image="b"),
        waiting(500),
        waiting(400, image="c"),
    ]
    for task in tasks:
        await mongo.dispatch.accept(task)
    head = await mongo.queue.read(ReadQueue(limit=500))
    assert [each.id for each in head.tasks] == [task.id for task in tasks[:3]]
    assert head.more


async def _fill(mongo: MongoStore, count: int, lines: int, first: datetime) -> TaskId:
    """So many wait in so many lines, one of them of tasks without a shape; the last of them."""
    task = a_task(image="")
    await mongo.dispatch.accept(task)
    model = await mongo.database[TASKS].find_one_and_delete({"_id": ObjectId(task.id)})
    docs: list[dict[str, Any]] = []
    for number in range(count):
        at = first + timedelta(milliseconds=number)
        doc = {**(model or {}), "_id": ObjectId(mint_task_id()), "submitted_at": at, "rank": at}
        doc["user"] = Int64(number % 10)
        if number % lines:
            doc["shape"] = f"image-{number % lines}"
        docs.append(doc)
    for start in range(0, count, 1000):
        await mongo.database[TASKS].insert_many(docs[start : start + 1000], ordered=False)
    return TaskId(str(docs[-1]["_id"]))


@pytest.mark.parametrize("lines", [1, 3, 150])
async def test_a_long_queue_costs_what_a_short_one_does(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """With the bounds made small: the short queue is at each of them already."""
    monkeypatch.setattr(queue, "QUEUE_WALK", 200)
    monkeypatch.setattr(queue, "LIST_TOTAL_MAX", 300)
    filling = Filling(mongo)
    last = await _fill(mongo, 1000, lines, utc_now() - timedelta(hours=2))
    page = ReadQueue(limit=50)
    probes = (
        Probe(name="head", ask=lambda store, _: store.queue.read(page)),
        Probe(name="of a user", ask=lambda store, _: store.queue.read(replace(page, user=3))),
        Probe(name="totals", ask=lambda store, _: store.queue.count()),
        Probe(name="lines", ask=lambda store, _: store.queue.find_lines()),
        Probe(name="users", ask=lambda store, _: store.queue.count_users()),
        Probe(name="place", ask=lambda store, _: store.queue.find_place(last)),
    )
    short = {probe.name: await work_of(probe, mongo, filling) for probe in probes}
    last = await _fill(mongo, 3000, lines, utc_now() - timedelta(hours=1))
    for probe in probes:
        work = await work_of(probe, mongo, filling)
        assert work.reads <= short[probe.name].reads + 50, (probe.name, short[probe.name], work)
    # What is shown, the first of each line, and what is next of each line that is merged.
    assert short["head"].documents <= 51 + lines + QUEUE_LINES_MERGED
    assert short["totals"].documents == 0
    # The first of each line, twice of those that are counted.
    assert short["lines"].documents <= lines + QUEUE_LINES_SHOWN
    assert short["place"].documents == 1
    place = await mongo.queue.find_place(last)
    assert (place.position, place.exact) == (300, False)
    totals = await mongo.queue.count()
    assert (totals.queued, totals.queued_is_exact) == (300, False)
    assert not (await mongo.queue.count_users()).exact
    of_user = await mongo.queue.read(replace(page, user=3))
    known = min(200, QUEUE_LINES_MERGED) if lines > QUEUE_LINES_MERGED else 200
    assert [each.position for each in of_user.tasks] == list(range(4, known + 1, 10))
    assert of_user.more
