"""The queue as people look at it: its head, its size, and whose it is.

Tasks wait in a line for each shape, because dispatch takes them so; what is next of all is found by
merging the lines by place, which MongoDB does while it walks along the index `order`. So the head
costs what is shown of it and an entry for each line, however long they are. Nothing here decides:
by the time it is read, what was next may run.

Lines have a bound, too: of more than `QUEUE_LINES` the others are not looked at, and of those only
the `QUEUE_LINES_MERGED` that begin first are walked. Behind the beginning of the next one the order
is not known, so the answer ends there and says that there is more.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec
from bson import ObjectId
from msgspec import Struct

from khala.model.errors import NotFound
from khala.model.ids import TaskId
from khala.model.limits import (
    AHEAD_MAX,
    LIST_TOTAL_MAX,
    QUEUE_LINES,
    QUEUE_LINES_MERGED,
    QUEUE_LINES_SHOWN,
    QUEUE_USERS,
    QUEUE_WALK,
)
from khala.model.order import Place
from khala.model.spec import Member
from khala.model.task import Dispatch
from khala.model.wants import Wants
from khala.protocol.queue import (
    QueuedTask,
    QueueHead,
    QueueLine,
    QueueLines,
    QueuePlace,
    QueueTotals,
    ReadQueue,
    UserLoad,
    UserLoads,
)
from khala.store.codec import (
    CANDIDATE_FIELDS,
    Database,
    Document,
    candidate_of,
    object_id,
    task_id,
)
from khala.store.failures import reading
from khala.store.schema import ORDER_KEY, TASKS

_QUEUED, _HELD, _LEASED = (each.value for each in (Dispatch.QUEUED, Dispatch.HELD, Dispatch.LEASED))
_PLACE: Document = {"rank": 1, "submitted_at": 1}
_SHOWN: Document = {
    **_PLACE,
    "user": 1,
    "spec.name": 1,
    "spec.priority": 1,
    "spec.image": 1,
    "spec.wants": 1,
    "spec.member": 1,
}


_ONE: Document = {"state": 1, "shape": 1, **_PLACE}


class _Lines(Struct, frozen=True, kw_only=True):
    """Those that are walked."""

    shapes: list[str | None]
    #: Where the first one begins that is not; None: all are.
    end: Place | None
    oldest: datetime | None
    #: Of all.
    count: int


class MongoQueue:
    def __init__(self, database: Database) -> None:
        self._tasks = database[TASKS]

    # ---- its head -----------------------------------------------------------------------------

    async def read(self, query: ReadQueue) -> QueueHead:
        """The tasks that are next; of one user those that are among the next `QUEUE_WALK`."""
        lines = await self._find_lines()
        if query.user is None:
            docs, more = await self._walk(lines, _SHOWN, query.limit)
            found = list(enumerate(docs, 1))
        else:
            docs, more = await self._walk(lines, {**_PLACE, "user": 1}, QUEUE_WALK)
            places = {doc["_id"]: n for n, doc in enumerate(docs, 1) if doc["user"] == query.user}
            more = more or len(places) > query.limit
            found = await self._load(dict(list(places.items())[: query.limit]))
        tasks = [_queued_task(position, doc) for position, doc in found]
        return QueueHead(tasks=tasks, more=more, oldest=lines.oldest)

    async def _find_lines(self) -> _Lines:
        """One step in the index for each."""
        first = {name: {"$first": f"${name}"} for name in ("rank", "submitted_at")}
        pipeline: list[Document] = [
            {"$match": {"state": _QUEUED}},
            {"$sort": dict(ORDER_KEY)},
            {"$group": {"_id": "$shape", "task": {"$first": "$_id"}, **first}},
            {"$limit": QUEUE_LINES},
        ]
        with reading():
            docs = await (await self._tasks.aggregate(pipeline, hint="order")).to_list()
        heads = sorted((_place({**doc, "_id": doc["task"]}), doc["_id"]) for doc in docs)
        walked = heads[:QUEUE_LINES_MERGED]
        return _Lines(
            shapes=[shape for _, shape in walked],
            end=heads[QUEUE_LINES_MERGED][0] if len(heads) > QUEUE_LINES_MERGED else None,
            oldest=min((place[1] for place, _ in heads), default=None),
            count=len(heads),
        )

    async def _walk(
        self, lines: _Lines, fields: Document, limit: int
    ) -> tuple[list[Document], bool]:
        """The next ones of all lines, and whether others are behind them."""
        if not lines.shapes:
            return [], False
        with reading():
            docs = (
                await self._tasks.find(
                    {"state": _QUEUED, "shape": {"$in": lines.shapes}}, fields, hint="order"
                )
                .sort(ORDER_KEY[2:])
                .limit(limit + 1)
                .to_list()
            )
        end = lines.end
        known = docs if end is None else [doc for doc in docs if _place(doc) < end]
        return known[:limit], end is not None or len(docs) > limit

    async def _load(self, places: dict[ObjectId, int]) -> list[tuple[int, Document]]:
        """The tasks at these places that wait still."""
        with reading():
            docs = await self._tasks.find(
                {"_id": {"$in": list(places)}, "state": _QUEUED}, _SHOWN, hint="_id_"
            ).to_list()
        return sorted(((places[doc["_id"]], doc) for doc in docs), key=lambda each: each[0])

    async def find_lines(self) -> QueueLines:
        """The lines, and how long each is: together up to `LIST_TOTAL_MAX`."""
        lines = await self._find_lines()
        shown = lines.shapes[:QUEUE_LINES_SHOWN]
        found: list[QueueLine] = []
        left = LIST_TOTAL_MAX
        for shape in shown:
            condition: Document = {"state": _QUEUED, "shape": shape}
            with reading():
                doc = await self._tasks.find_one(
                    condition, CANDIDATE_FIELDS, hint="order", sort=ORDER_KEY[2:]
                )
            if doc is None:
                continue
            counted = {**condition, **_of_line({"shape": shape})}
            queued = await self._count(counted, left + 1)
            line = QueueLine(
                first=candidate_of(doc), queued=min(queued, left), exact=queued <= left
            )
            left -= line.queued
            found.append(line)
        return QueueLines(lines=found, more=len(shown) < lines.count)

    # ---- one task's place -----------------------------------------------------------------------

    async def find_place(self, task: TaskId) -> QueuePlace:
        """Counted along the index, up to `LIST_TOTAL_MAX`. Raise `NotFound`."""
        with reading():
            doc = await self._tasks.find_one({"_id": object_id(task)}, _ONE)
        if doc is None:
            raise NotFound(f"task {task} does not exist")
        if doc["state"] != _QUEUED:
            return QueuePlace(position=None)
        ahead = await self._count_before(doc, _of_line(doc), LIST_TOTAL_MAX)
        before = await self._count_before(doc, {}, LIST_TOTAL_MAX)
        if before is None:
            return QueuePlace(position=LIST_TOTAL_MAX, exact=False, ahead=ahead)
        return QueuePlace(position=before + 1, ahead=ahead)

    async def find_ahead(self, task: TaskId) -> QueuePlace:
        """The same of its line alone, and only up to `AHEAD_MAX`, for whoever asks often."""
        with reading():
            doc = await self._tasks.find_one({"_id": object_id(task)}, _ONE)
        ahead = None
        if doc is not None and doc["state"] == _QUEUED:
            ahead = await self._count_before(doc, _of_line(doc), AHEAD_MAX)
        return QueuePlace(position=None, ahead=ahead)

    async def _count_before(self, doc: Document, among: Document, limit: int) -> int | None:
        """Of those that wait; None if there are as many as `limit`."""
        rank, at = doc["rank"], doc["submitted_at"]
        before = 0
        # Each of them one range for each line: together they would be a filter on documents.
        for ahead in (
            {"rank": {"$lt": rank}},
            {"rank": rank, "submitted_at": {"$lt": at}},
            {"rank": rank, "submitted_at": at, "_id": {"$lt": doc["_id"]}},
        ):
            before += await self._count({"state": _QUEUED, **among, **ahead}, limit - before)
            if before >= limit:
                return None
        return before

    # ---- how much, and whose --------------------------------------------------------------------

    async def count(self) -> QueueTotals:
        queued = await self._count({"state": _QUEUED}, LIST_TOTAL_MAX + 1)
        held = await self._count({"state": _HELD}, LIST_TOTAL_MAX + 1, "held")
        return QueueTotals(
            queued=min(queued, LIST_TOTAL_MAX),
            queued_is_exact=queued <= LIST_TOTAL_MAX,
            held=min(held, LIST_TOTAL_MAX),
            held_is_exact=held <= LIST_TOTAL_MAX,
        )

    async def _count(self, condition: Document, limit: int, index: str = "order") -> int:
        with reading():
            return await self._tasks.count_documents(condition, hint=index, limit=limit)

    async def count_users(self) -> UserLoads:
        """By the `QUEUE_WALK` tasks of each kind that were submitted first."""
        queued, held, running = [
            await self._by_user(state, index)
            for state, index in (
                (_QUEUED, "queued_by_date"),
                (_HELD, "held_by_date"),
                (_LEASED, "leases"),
            )
        ]
        loads = [
            UserLoad(user=user, queued=queued[user], held=held[user], running=running[user])
            for user in {*queued, *held, *running}
        ]
        loads.sort(key=lambda load: (-load.total, load.user))
        looked_at = max(each.total() for each in (queued, held, running))
        return UserLoads(
            users=loads[:QUEUE_USERS],
            exact=looked_at < QUEUE_WALK and len(loads) <= QUEUE_USERS,
        )

    async def _by_user(self, state: str, index: str) -> Counter[int]:
        """What runs is as many as there are slots, and has no index by date."""
        order: list[Document] = [{"$sort": {"submitted_at": 1, "_id": 1}}]
        pipeline: list[Document] = [
            {"$match": {"state": state}},
            *(order if state != _LEASED else []),
            {"$limit": QUEUE_WALK},
            {"$group": {"_id": "$user", "n": {"$sum": 1}}},
        ]
        with reading():
            docs = await (await self._tasks.aggregate(pipeline, hint=index)).to_list()
        return Counter({int(doc["_id"]): int(doc["n"]) for doc in docs})


def _of_line(doc: Document) -> Document:
    """No shape is no text: asked for as null, each document would have to be looked at."""
    return {"shape": doc.get("shape") or {"$not": {"$gte": ""}}}


def _place(doc: Document) -> Place:
    return doc["rank"].astimezone(UTC), doc["submitted_at"].astimezone(UTC), task_id(doc["_id"])


def _queued_task(position: int, doc: dict[str, Any]) -> QueuedTask:
    spec = doc.get("spec", {})
    return QueuedTask(
        position=position,
        id=task_id(doc["_id"]),
        user=int(doc["user"]),
        submitted_at=doc["submitted_at"],
        name=spec.get("name", ""),
        priority=spec.get("priority", 0),
        image=spec.get("image", ""),
        wants=msgspec.convert(spec.get("wants", {}), Wants),
        member=msgspec.convert(spec.get("member"), Member | None),
    )
