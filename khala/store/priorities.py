"""A list by priority: lists by date, one for each priority, one after another.

Most tasks say nothing of priority. An index that has them all by priority would be written by each
of them, so there is one of those alone that were given one; the others are a list by date, between
the priorities above 0 and those below. Of a priority on the way that has nothing to show, the next
one is found by a step in the index.

Priorities of tasks that wait can be changed. What moves between two pages is shown twice or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec.structs import replace

from khala.model.ids import TaskId
from khala.model.task import TERMINAL, Dispatch, TaskBrief, TaskState
from khala.protocol.rpc import ListTasks, Place, SortKey, TaskFilter, TaskRows
from khala.store.codec import Collection, Document
from khala.store.failures import reading
from khala.store.listing import (
    WINDOWS,
    Branch,
    Page,
    branches_of,
    count_if_indexed,
    list_by_date,
    named,
    read_page,
    residual_of,
    rows_of,
)

_INDEX = "priorities"
_FIELD = "spec.priority"
#: Priorities that one request looks at: of each of them less than a window may be in vain.
LEVELS = 8
#: Before every task of a priority, in either direction of dates.
_FIRST = {
    True: (datetime(1970, 1, 1, tzinfo=UTC), TaskId("0" * 24)),
    False: (datetime(9999, 1, 1, tzinfo=UTC), TaskId("f" * 24)),
}


async def list_by_priority(tasks: Collection, query: ListTasks) -> TaskRows:
    """One page; it may be short, or empty, and not the last, as one by date may be."""
    if await named(tasks, query):
        return await list_by_date(tasks, _by_date(query))
    total = await count_if_indexed(tasks, _by_date(query)) if query.count else None
    return rows_of(await _read(tasks, query), total)


async def _read(tasks: Collection, query: ListTasks) -> Page:
    rows: list[TaskBrief] = []
    windows = WINDOWS
    place = query.after or await _beginning(tasks, query, None)
    for _ in range(LEVELS):
        if place is None:
            return Page(rows=rows, next=None)
        level = replace(_by_date(query), after=place, limit=query.limit - len(rows))
        page = await _read_level(tasks, level, place.priority, windows)
        rows += page.rows
        if page.next is not None:
            return Page(rows=rows, next=replace(page.next, priority=place.priority))
        place = await _beginning(tasks, query, place.priority)
        windows -= page.windows
        if len(rows) == query.limit:
            break
    return Page(rows=rows, next=place)


def _by_date(query: ListTasks) -> ListTasks:
    return replace(query, sort=SortKey.CREATED_AT)


async def _read_level(tasks: Collection, query: ListTasks, priority: int, windows: int) -> Page:
    if priority == 0:
        branches = branches_of(query)
        unsaid: Document = {_FIELD: {"$in": [None, 0]}}
        residual = [*residual_of(query, branches), unsaid]
    else:
        branches = [
            Branch(index=_INDEX, condition={"state": each.value, _FIELD: priority})
            for each in _dispatches(query)
        ]
        # What waits stands where it is looked for, and needs no second look.
        waiting = set(query.states) <= {TaskState.QUEUED}
        residual = residual_of(replace(query, states=()) if waiting else query, branches)
    return await read_page(tasks, query, branches, residual, windows)


async def _beginning(tasks: Collection, query: ListTasks, passed: int | None) -> Place | None:
    """Of the next priority that some task has; None: there is none beyond `passed`."""
    beyond, direction = ("$gt", 1) if query.lowest_first else ("$lt", -1)
    bound: Document = {"$exists": True} if passed is None else {beyond: passed}

    async def next_in(dispatch: Dispatch) -> int | None:
        condition = {"state": dispatch.value, _FIELD: bound}
        with reading():
            doc = await tasks.find_one(
                condition, {_FIELD: 1}, hint=_INDEX, sort=[(_FIELD, direction)]
            )
        return None if doc is None else int(doc["spec"]["priority"])

    seen = await asyncio.gather(*map(next_in, _dispatches(query)))
    found = [priority for priority in seen if priority is not None]
    if passed is None or passed * direction < 0:
        found.append(0)
    if not found:
        return None
    at, task = _FIRST[query.oldest_first]
    return Place(priority=(min if query.lowest_first else max)(found), at=at, id=task)


def _dispatches(query: TaskFilter) -> Iterator[Dispatch]:
    """Where the tasks of a list can stand."""
    states = set(query.states or TaskState)
    if query.held:
        yield Dispatch.HELD
        return
    if TaskState.QUEUED in states:
        yield from (Dispatch.QUEUED, Dispatch.HELD)
    if states & TERMINAL:
        yield Dispatch.DONE
    if states - TERMINAL - {TaskState.QUEUED}:
        yield Dispatch.LEASED
