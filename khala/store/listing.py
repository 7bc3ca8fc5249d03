"""How a page of tasks is found: along an index, and never by looking at all there is.

A filter is either what an index is walked by (`Branch`), or what is looked at in the documents on
the way. The way has an end: after `WINDOW_DOCS` of an index that hold no full page, what was found
is answered with the place that was reached, and the next page goes on from there. So a filter that
nothing matches costs a million tasks a few requests more, and no request more than the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bson import MinKey, ObjectId
from msgspec import Struct

from khala.model.holds import RELEASE
from khala.model.limits import LIST_TOTAL_MAX
from khala.model.search import id_prefix_of, label_of, whole_ids
from khala.model.task import TERMINAL, Dispatch, TaskBrief, TaskState
from khala.protocol.rpc import ListTasks, Place, SortKey, TaskFilter, TaskRows, place_of
from khala.store.codec import BRIEF_FIELDS, Collection, Document, brief_of_doc, task_id
from khala.store.failures import reading

#: Entries of an index between two looks at the clock of a request, and how many of these it gets.
WINDOW_DOCS = 2000
WINDOWS = 4
#: Without a condition MongoDB would count the documents instead of an index, at twice the price.
EVERYTHING: Document = {"submitted_at": {"$gte": MinKey()}}
_ID_DIGITS = 24

_FIELDS = {SortKey.CREATED_AT: "submitted_at", SortKey.FINISHED_AT: "done_at"}
_OPEN_INDEXES = {
    Dispatch.QUEUED: "queued_by_date",
    Dispatch.HELD: "held_by_date",
    Dispatch.LEASED: "leases",
}


class Branch(Struct, frozen=True, kw_only=True):
    """One index, and the part of it that is walked."""

    index: str
    condition: Document
    #: Its order is that of the list.
    ordered: bool = True


class _Found(Struct, frozen=True, kw_only=True):
    rows: list[TaskBrief]
    #: Nothing beyond this place was looked at; None: all there is.
    reached: Place | None = None
    #: Windows that were not enough.
    windows: int = 0


class Page(Struct, frozen=True, kw_only=True):
    rows: list[TaskBrief]
    #: Where the next one begins; None: this is the last.
    next: Place | None
    windows: int = 0


async def list_by_date(tasks: Collection, query: ListTasks) -> TaskRows:
    """One page. With filters that no index serves it may be short, or empty, and not the last."""
    branches = await named(tasks, query) or branches_of(query)
    page = await read_page(tasks, query, branches, residual_of(query, branches))
    total = await count_if_indexed(tasks, query) if query.count else None
    return rows_of(page, total)


def rows_of(page: Page, total: int | None) -> TaskRows:
    return TaskRows(
        tasks=page.rows,
        more=page.next is not None,
        next=page.next,
        total=None if total is None else min(total, LIST_TOTAL_MAX),
        total_is_exact=total is not None and total <= LIST_TOTAL_MAX,
    )


async def read_page(
    tasks: Collection,
    query: ListTasks,
    branches: Sequence[Branch],
    residual: Sequence[Document],
    windows: int = WINDOWS,
) -> Page:
    found = [await _walk(tasks, query, branch, residual, windows) for branch in branches]
    rows = sorted(
        (row for each in found for row in each.rows),
        key=lambda row: _order(place_of(row, query.sort)),
        reverse=not query.oldest_first,
    )
    reached = _first((each.reached for each in found), query.oldest_first)
    if reached is not None:
        rows = [row for row in rows if not _beyond(place_of(row, query.sort), reached, query)]
    page = rows[: query.limit]
    more = len(rows) > query.limit
    return Page(
        rows=page,
        next=place_of(page[-1], query.sort) if more else reached,
        windows=max((each.windows for each in found), default=0),
    )


async def _walk(
    tasks: Collection,
    query: ListTasks,
    branch: Branch,
    residual: Sequence[Document],
    windows: int,
) -> _Found:
    rows: list[TaskBrief] = []
    after = query.after
    for passed in range(windows):
        way = [branch.condition, *_bounds(query, after)]
        end = None
        if residual and branch.ordered:
            end = await _window_end(tasks, query, branch, way)
            way += _up_to(query, end)
        with reading():
            docs = (
                await tasks.find(_all([*way, *residual]), BRIEF_FIELDS, hint=branch.index)
                .sort(_sort(query))
                .limit(query.limit + 1 - len(rows))
                .to_list()
            )
        rows += map(brief_of_doc, docs)
        if end is None or len(rows) > query.limit:
            return _Found(rows=rows, windows=passed)
        after = end
    return _Found(rows=rows, reached=after, windows=windows)


async def _window_end(
    tasks: Collection, query: ListTasks, branch: Branch, way: Sequence[Document]
) -> Place | None:
    """The last place of the next window; None if the rest is no longer than one."""
    field = _FIELDS[query.sort]
    with reading():
        docs = (
            await tasks.find(_all(way), {field: 1}, hint=branch.index)
            .sort(_sort(query))
            .skip(WINDOW_DOCS - 1)
            .limit(1)
            .to_list()
        )
    return Place(at=docs[0][field], id=task_id(docs[0]["_id"])) if docs else None


async def count_if_indexed(tasks: Collection, query: ListTasks) -> int | None:
    """Up to one more than `LIST_TOTAL_MAX`; None where counting would mean looking at documents."""
    branches = branches_of(query)
    if residual_of(query, branches):
        return None
    total = 0
    for branch in branches:
        condition = _all([branch.condition, *_bounds(query, None)]) or EVERYTHING
        with reading():
            total += await tasks.count_documents(
                condition, hint=branch.index, limit=LIST_TOTAL_MAX + 1
            )
    return total


def branches_of(query: TaskFilter) -> list[Branch]:
    """The narrowest way that some index offers."""
    if isinstance(query, ListTasks) and query.sort is SortKey.FINISHED_AT:
        return [Branch(index="ended", condition={"state": Dispatch.DONE.value})]
    if query.labels:
        return [Branch(index="labels", condition={"labels": query.labels[0]})]
    if query.user is not None:
        return [Branch(index="user", condition={"user": query.user})]
    if query.held:
        # Whatever else a task waits for stands there, too: as much as waits, at the most.
        return [Branch(index="held_by_date", condition={"state": Dispatch.HELD.value})]
    if query.states:
        return list(_by_state(query.states))
    if query.reasons or query.verdicts:
        return list(_by_state(sorted(TERMINAL)))
    return [Branch(index="time", condition={})]


async def named(tasks: Collection, query: ListTasks) -> list[Branch]:
    """The task whose whole id is a word: it is found at once, and no name that holds the id."""
    for task in whole_ids(query.words):
        condition: Document = {"_id": ObjectId(task)}
        with reading():
            there = await tasks.find_one(condition, {"_id": 1})
        if there is not None:
            if query.sort is SortKey.FINISHED_AT:
                condition["state"] = Dispatch.DONE.value
            return [Branch(index="_id_", condition=condition, ordered=False)]
    return []


def _by_state(states: Sequence[TaskState]) -> Iterator[Branch]:
    dispatches: dict[Dispatch, None] = {}
    for state in states:
        if state in TERMINAL:
            condition = {"state": Dispatch.DONE.value, "outcome.ending": state.value}
            yield Branch(index="endings", condition=condition)
        elif state is TaskState.QUEUED:
            dispatches |= {Dispatch.QUEUED: None, Dispatch.HELD: None}
        else:
            dispatches[Dispatch.LEASED] = None
    for dispatch in dispatches:
        index, condition = _OPEN_INDEXES[dispatch], {"state": dispatch.value}
        # What runs is as many as there are slots, and is put in order.
        yield Branch(index=index, condition=condition, ordered=dispatch is not Dispatch.LEASED)


def residual_of(query: ListTasks, branches: Sequence[Branch]) -> list[Document]:
    """What the indexes of `branches` do not answer."""
    conditions: list[Document] = []
    driving = branches[0].index
    by_state = not query.held and driving in ("endings", *_OPEN_INDEXES.values())
    if query.user is not None and driving != "user":
        conditions.append({"user": query.user})
    if query.states and (not by_state or any(_in_progress(state) for state in query.states)):
        conditions.append({"$or": [in_state(state) for state in query.states]})
    if query.held is not None:
        conditions.append({"hold.keys": RELEASE if query.held else {"$ne": RELEASE}})
    if query.reasons:
        conditions.append({"outcome.reason": {"$in": [reason.value for reason in query.reasons]}})
    if query.verdicts:
        words = [verdict.value for verdict in query.verdicts]
        conditions.append({"outcome.judgement.verdict": {"$in": words}})
    labels = query.labels[1:] if driving == "labels" else query.labels
    if labels:
        conditions.append({"labels": {"$all": list(labels)}})
    if query.node is not None:
        conditions.append(
            {"$or": [{"lease.executor": query.node}, {"outcome.executor": query.node}]}
        )
    if query.name is not None:
        conditions.append(_in_name(query.name))
    if query.id_prefix is not None:
        conditions.append(_id_begins(query.id_prefix))
    conditions += map(_is_found, query.words)
    other = "done_at" if query.sort is SortKey.CREATED_AT else "submitted_at"
    between = {"done_at": query.finished, "submitted_at": query.created}[other]
    conditions += _between(other, *between)
    return conditions


def _in_name(part: str) -> Document:
    return {"spec.name": {"$regex": re.escape(part), "$options": "i"}}


def _id_begins(digits: str) -> Document:
    first, last = (digits.ljust(_ID_DIGITS, digit) for digit in "0f")
    return {"_id": {"$gte": ObjectId(first), "$lte": ObjectId(last)}}


def _is_found(word: str) -> Document:
    places = [_in_name(word)]
    if (prefix := id_prefix_of(word)) is not None:
        places.append(_id_begins(prefix))
    if (label := label_of(word)) is not None:
        places.append({"labels": label})
    return {"$or": places}


def _in_progress(state: TaskState) -> bool:
    return state not in TERMINAL and state is not TaskState.QUEUED


def in_state(state: TaskState) -> Document:
    """The condition behind a public state: the reverse of `project_state`."""
    if state in TERMINAL:
        return {"state": Dispatch.DONE.value, "outcome.ending": state.value}
    if state is TaskState.QUEUED:
        return {"state": {"$in": [Dispatch.QUEUED.value, Dispatch.HELD.value]}}
    if state is TaskState.STARTING:
        known = [TaskState.STARTING.value, None]
        return {"state": Dispatch.LEASED.value, "progress": {"$in": known}}
    return {"state": Dispatch.LEASED.value, "progress": state.value}


def _bounds(query: ListTasks, after: Place | None) -> list[Document]:
    """Of the field that orders the list; all of it by the index."""
    field = _FIELDS[query.sort]
    between = query.created if query.sort is SortKey.CREATED_AT else query.finished
    conditions = _between(field, *between)
    if after is not None:
        beyond = "$gt" if query.oldest_first else "$lt"
        # The first line bounds the index scan, the second one is exact.
        conditions.append({field: {f"{beyond}e": after.at}})
        conditions.append(
            {"$or": [{field: {beyond: after.at}}, {"_id": {beyond: ObjectId(after.id)}}]}
        )
    return conditions


def _up_to(query: ListTasks, end: Place | None) -> list[Document]:
    if end is None:
        return []
    field, before = _FIELDS[query.sort], "$lt" if query.oldest_first else "$gt"
    return [
        {field: {f"{before}e": end.at}},
        {"$or": [{field: {before: end.at}}, {"_id": {f"{before}e": ObjectId(end.id)}}]},
    ]


def _between(field: str, start: datetime | None, end: datetime | None) -> list[Document]:
    conditions: list[Document] = []
    if start is not None:
        conditions.append({field: {"$gte": start}})
    if end is not None:
        conditions.append({field: {"$lte": end}})
    return conditions


def _sort(query: ListTasks) -> list[tuple[str, int]]:
    direction = 1 if query.oldest_first else -1
    return [(_FIELDS[query.sort], direction), ("_id", direction)]


def _all(conditions: Sequence[Document]) -> Document:
    given = [condition for condition in conditions if condition]
    return {"$and": given} if given else {}


def _order(place: Place) -> tuple[datetime, str]:
    return place.at.astimezone(UTC), place.id


def _beyond(place: Place, end: Place, query: ListTasks) -> bool:
    ahead = _order(place) > _order(end)
    return place != end and (ahead if query.oldest_first else not ahead)


def _first(places: Iterator[Place | None], oldest_first: bool) -> Place | None:
    """The one that is reached first."""
    known = [place for place in places if place is not None]
    return (min if oldest_first else max)(known, key=_order) if known else None
