"""What ended, added up by minute, hour and day, so that no question reads all tasks and an answer
outlives them.

A minute is added up once, two minutes after it is over, by walking the index `ended`; hours are
added up from minutes and days from hours. Each stretch is one document whose id is its length and
its beginning, and which is inserted and never changed: two leaders that add up the same minute
write the same document, and the second one is refused. How far the minutes have come is one date,
which only grows and is moved after the documents before it are there. So whoever stops anywhere is
followed by somebody who does the rest again, and nothing counts twice.

Stretches in which nothing ended have no document. The document that ends a task is left as it is:
its end costs what it did without this.

`{_id: "00060:001795831200", ended: {succeeded: 3}, verdicts: {AC: 2}, wait: {"17": 3},
run: {"40": 3}, cpu_ms, retries, losses}`, beside `{_id: "upto", at}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from bson import Int64
from msgspec import Struct
from pymongo import ASCENDING

from khala.model.attempts import AttemptEnd
from khala.model.limits import STATISTICS_PORTION, STATISTICS_RECENT, STATISTICS_SETTLE_S
from khala.model.statistics import (
    BUCKETS_PER_OCTAVE,
    DAYS,
    HOURS,
    LEVELS,
    MINUTES,
    Level,
    Tally,
    floor,
)
from khala.model.task import Dispatch
from khala.protocol.statistics import ReadStatistics
from khala.store.client import change
from khala.store.codec import Database, Document
from khala.store.dates import utc_now
from khala.store.failures import DUPLICATE_KEY, changing, item_failure, reading
from khala.store.quotas import TASK_MS
from khala.store.schema import STATISTICS, TASKS

_UPTO = "upto"
_DONE: Document = {"state": Dispatch.DONE.value}
#: Removed later than they are promised, so that what is asked at the bound is whole.
_MARGIN = timedelta(days=1)
_BEGINNING = datetime.fromtimestamp(0, UTC)
Tallies = dict[datetime, Tally]
#: Told of each portion; False: stop where all is written.
Pace = Callable[[], Awaitable[bool]]


def _bucket(begin: str | Document, end: str | Document) -> Document:
    """Which one a time is in; null where it has no beginning or no end."""
    ms = {"$subtract": [end, begin]}
    nth = {"$floor": {"$multiply": [BUCKETS_PER_OCTAVE, {"$log": [ms, 2]}]}}
    known = {"$cond": [{"$lt": [ms, 1]}, 0, {"$add": [1, nth]}]}
    return {"$cond": [{"$eq": [ms, None]}, None, known]}


#: What was given back had not begun, or hardly.
_BEGUN: Document = {
    "$filter": {
        "input": {"$ifNull": ["$past", []]},
        "cond": {"$ne": ["$$this.end", AttemptEnd.RETURNED.value]},
    }
}
_FIRST_START: Document = {
    "$min": ["$started_at", {"$min": {"$map": {"input": _BEGUN, "in": "$$this.started_at"}}}]
}
_MINUTE_MS = MINUTES.step_s * 1000
_GROUP: Document = {
    "_id": {
        "minute": {
            "$subtract": ["$done_at", {"$mod": [{"$toLong": "$done_at"}, Int64(_MINUTE_MS)]}]
        },
        "ending": "$outcome.ending",
        "verdict": "$outcome.judgement.verdict",
        "wait": _bucket("$submitted_at", _FIRST_START),
        "run": _bucket("$started_at", "$done_at"),
    },
    "n": {"$sum": 1},
    "cpu_ms": {"$sum": TASK_MS},
    "retries": {"$sum": {"$ifNull": ["$retries", 0]}},
    "losses": {"$sum": "$crashes"},
    "last": {"$max": {"at": "$done_at", "id": "$_id"}},
}


class Recent(Struct, frozen=True, kw_only=True):
    """What no document has yet."""

    #: How far documents have come.
    upto: datetime
    #: By minute.
    tallies: Tallies
    #: All that ended before this is in a document or here.
    complete_to: datetime


class _Portion(Struct, frozen=True, kw_only=True):
    """Of what ended, in its order."""

    tallies: Tallies
    #: All that ended before this minute is in this portion or in one before it.
    whole_to: datetime


class MongoStatistics:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks = database[TASKS]
        self._statistics = database[STATISTICS]

    # ---- adding up ----------------------------------------------------------------------------

    async def roll_up(self, pace: Pace) -> None:
        """What is over and not added up yet, in portions. Repeatable, also by several at once."""
        end = floor(utc_now() - timedelta(seconds=STATISTICS_SETTLE_S), MINUTES.step_s)
        upto = await self._load_upto(end)
        pending: Tallies = {}
        async for portion in self._portions(upto, end):
            _merge(pending, portion.tallies.items(), MINUTES.step_s)
            if portion.whole_to > upto:
                whole = {at: pending.pop(at) for at in list(pending) if at < portion.whole_to}
                await self._advance(upto, portion.whole_to, whole)
                upto = portion.whole_to
            if not await pace():
                return

    async def _advance(self, before: datetime, upto: datetime, minutes: Tallies) -> None:
        """The date is moved last: what is behind it is there for good."""
        await self._insert(MINUTES, minutes)
        for finer, level in pairwise(LEVELS):
            first, last = floor(before, level.step_s), floor(upto, level.step_s)
            if first == last:
                break
            sums: Tallies = {}
            _merge(sums, await self._load(finer, first, last), level.step_s)
            await self._insert(level, sums)
        with changing():
            await self._statistics.update_one({"_id": _UPTO}, {"$max": {"at": upto}}, upsert=True)

    async def _insert(self, level: Level, tallies: Tallies) -> None:
        """Those that are there already stay as they are."""
        documents = [_doc_of(level, at, tally) for at, tally in sorted(tallies.items())]
        if not documents:
            return
        reply = await change(
            self._database, {"insert": STATISTICS, "documents": documents, "ordered": False}
        )
        for error in reply.get("writeErrors", []):
            if error["code"] != DUPLICATE_KEY:
                raise item_failure(error["code"], error["errmsg"])

    async def forget_old(self) -> None:
        """Remove what has been kept for its time."""
        now = utc_now()
        # Days are made of the hours behind it, and hours of minutes.
        unmade = floor(await self._load_upto(now), DAYS.step_s)
        for level in LEVELS:
            last = min(floor(now - level.kept - _MARGIN, level.step_s), unmade)
            condition = {"_id": {"$gte": _id(level, _BEGINNING), "$lt": _id(level, last)}}
            with changing():
                await self._statistics.delete_many(condition)

    async def _load_upto(self, end: datetime) -> datetime:
        """Before anything was added up: when the first task ended, if that is not too long ago."""
        with reading():
            doc = await self._statistics.find_one({"_id": _UPTO})
            if doc is not None:
                return _utc(doc["at"])
            oldest = await self._tasks.find_one(
                _DONE,
                {"_id": 0, "done_at": 1},
                hint="ended",
                sort=[("done_at", ASCENDING), ("_id", ASCENDING)],
            )
        if oldest is None:
            return end
        first = max(_utc(oldest["done_at"]), utc_now() - HOURS.kept)
        return floor(first, MINUTES.step_s)

    # ---- walking over what ended ----------------------------------------------------------------

    async def _portions(self, first: datetime, end: datetime) -> AsyncIterator[_Portion]:
        """Each reads as many tasks as a statement may; the last one reaches the end."""
        behind: Document = {}
        while first < end:
            pipeline: list[Document] = [
                {"$match": {"$and": [_DONE, {"done_at": {"$gte": first, "$lt": end}}, behind]}},
                {"$sort": {"done_at": ASCENDING, "_id": ASCENDING}},
                {"$limit": STATISTICS_PORTION},
                {"$group": _GROUP},
            ]
            with reading():
                docs = await (await self._tasks.aggregate(pipeline, hint="ended")).to_list()
            tallies: Tallies = {}
            _merge(tallies, map(_tally_of_group, docs), MINUTES.step_s)
            if sum(doc["n"] for doc in docs) < STATISTICS_PORTION:
                yield _Portion(tallies=tallies, whole_to=end)
                return
            last = max((_utc(doc["last"]["at"]), doc["last"]["id"]) for doc in docs)
            first = last[0]
            behind = {"$or": [{"done_at": {"$gt": first}}, {"_id": {"$gt": last[1]}}]}
            yield _Portion(tallies=tallies, whole_to=floor(first, MINUTES.step_s))

    # ---- asking -------------------------------------------------------------------------------

    async def read(self, query: ReadStatistics, upto: datetime) -> Tallies:
        """By step, what documents have of it: of the longest stretches as far as they reach, of
        shorter ones behind them."""
        sums: Tallies = {}
        at = query.start
        for level in reversed(LEVELS):
            end = min(query.end, floor(upto, level.step_s))
            if query.step_s % level.step_s == 0 and at < end:
                _merge(sums, await self._load(level, at, end), query.step_s)
                at = end
        return sums

    async def read_recent(self) -> Recent:
        """What ended since, up to a number of tasks: where nobody has added up for long, the rest
        is missing until somebody has."""
        now = utc_now()
        upto = await self._load_upto(floor(now, MINUTES.step_s))
        tallies: Tallies = {}
        whole_to, left = upto, STATISTICS_RECENT
        async for portion in self._portions(upto, now + timedelta(seconds=MINUTES.step_s)):
            _merge(tallies, portion.tallies.items(), MINUTES.step_s)
            whole_to = min(portion.whole_to, now)
            left -= STATISTICS_PORTION
            if left <= 0:
                break
        return Recent(upto=upto, tallies=tallies, complete_to=whole_to)

    async def _load(
        self, level: Level, first: datetime, end: datetime
    ) -> list[tuple[datetime, Tally]]:
        condition = {"_id": {"$gte": _id(level, first), "$lt": _id(level, end)}}
        with reading():
            docs = await self._statistics.find(condition).to_list()
        return [_tally_of(doc) for doc in docs]


def add_recent(sums: Tallies, recent: Recent, query: ReadStatistics) -> None:
    """What is asked for and no document has."""
    first = max(query.start, recent.upto)
    asked = ((at, each) for at, each in recent.tallies.items() if first <= at < query.end)
    _merge(sums, asked, query.step_s)


def _merge(sums: Tallies, each: Iterable[tuple[datetime, Tally]], step_s: int) -> None:
    for at, tally in each:
        sums.setdefault(floor(at, step_s), Tally()).add(tally)


def _id(level: Level, at: datetime) -> str:
    """In the order of dates, also as text."""
    return f"{level.step_s:05}:{int(at.timestamp()):012}"


def _doc_of(level: Level, at: datetime, tally: Tally) -> Document:
    return {
        "_id": _id(level, at),
        "ended": dict(tally.ended),
        "verdicts": dict(tally.verdicts),
        "wait": {str(bucket): count for bucket, count in tally.wait.items()},
        "run": {str(bucket): count for bucket, count in tally.run.items()},
        "cpu_ms": Int64(tally.cpu_ms),
        "retries": tally.retries,
        "losses": tally.losses,
    }


def _tally_of(doc: Mapping[str, Any]) -> tuple[datetime, Tally]:
    seconds = int(doc["_id"].partition(":")[2])
    return datetime.fromtimestamp(seconds, UTC), Tally(
        ended=Counter(doc["ended"]),
        verdicts=Counter(doc["verdicts"]),
        wait=Counter({int(bucket): count for bucket, count in doc["wait"].items()}),
        run=Counter({int(bucket): count for bucket, count in doc["run"].items()}),
        cpu_ms=int(doc["cpu_ms"]),
        retries=doc["retries"],
        losses=doc["losses"],
    )


def _tally_of_group(doc: Mapping[str, Any]) -> tuple[datetime, Tally]:
    key, count = doc["_id"], int(doc["n"])

    def counted(name: str) -> Counter[Any]:
        return Counter({key[name]: count}) if key.get(name) is not None else Counter()

    return _utc(key["minute"]), Tally(
        ended=counted("ending"),
        verdicts=counted("verdict"),
        wait=Counter({int(bucket): n for bucket, n in counted("wait").items()}),
        run=Counter({int(bucket): n for bucket, n in counted("run").items()}),
        cpu_ms=int(doc["cpu_ms"]),
        retries=int(doc["retries"]),
        losses=int(doc["losses"]),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
