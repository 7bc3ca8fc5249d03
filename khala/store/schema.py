"""Collections, indexes and validators, and the version of all that.

The validators are the second half of a pair: the statements' filters keep the rules, and the
server refuses a document that breaks them, so that a faulty statement loses one write and not a
task. What they pin down: a lease exists exactly while a task is leased, a hold while it is held, an
outcome exactly once it is done, a recorded result belongs to the attempt that stood at that moment
(I3) and is not one that was tried again.

Indexes, each of which costs every write of the fields in it:

    order      what waits, by shape, in the order it is to run; empty when idle
    held       what is not to be run yet
    ..._by_date  both by submission, for pages: a queue has one order to run in, and is read in
               another. What a free slot takes at once is in neither
    dependents that of it which waits for other tasks, for sweeps
    holds      the same by what it waits for, an entry for each condition
    due        the same by its date
    expiring   what ends unless it begins in time, by that date; only of those that say so
    leases     who holds what, for audits; as large as the cluster has slots
    idem       at most one task per user and idempotency key
    user       one user's tasks by submission, for searches
    time       everybody's
    labels     tasks with a label by submission, an entry for each label
    priorities those that were given a priority, each priority by submission
    endings    those that ended in one way, which may be few among millions
    ended      all that ended, by the date of that
    kept       the same of those that say themselves how long they are kept, by that first
    blobs      which tasks name a blob; only of those that name any
    members    a job's, by their states; only of those that have a job

`order`, `held`, those by date and `leases` carry `state` although it is constant in them: only then
can MongoDB count from the index alone.

Any Judicator may run `ensure_schema` at any time, also several at once.
"""

from __future__ import annotations

from pymongo.errors import CollectionInvalid, OperationFailure

from khala.model.depends import KEYS_BELOW
from khala.model.errors import Rejected
from khala.model.executor import SessionState
from khala.store.client import change
from khala.store.codec import Database, Document
from khala.store.failures import changing, reading

SCHEMA_VERSION = 14

TASKS = "tasks"
PAYLOADS = "payloads"
OUTPUTS = "outputs"
BLOBS = "blobs"
BLOB_CHUNKS = "blob_chunks"
LIVE = "live"
JOBS = "jobs"
EXECUTORS = "executors"
PRESETS = "presets"
META = "meta"
TOKENS = "tokens"
#: Made by its first document; what stands in it is of use for a moment.
QUOTA_TURNS = "quota_turns"
#: Made by its first document, without an index but that of ids: an older Khala can be started on
#: it, and one that joins a running cluster needs no new schema.
STATISTICS = "statistics"
#: The same, and of use for some hours; their ids have their dates.
UPLOADS = "uploads"
UPLOADERS = "uploaders"
JUDICATORS = "judicators"
#: The same: each judicator makes their indexes when it starts.
USERS = "users"
ACCESS_TOKENS = "access_tokens"
ACCESS_SESSIONS = "access_sessions"
ACCESS_TICKETS = "access_tickets"
AUDIT = "audit"
EXAMINATIONS = "examinations"
#: Jobs that are being removed; empty but for a moment.
LEAVING = "leaving"

_ABSENT: Document = {"$exists": False}
_PRESENT: Document = {"$exists": True}

_WAITING: Document = {"lease": _ABSENT, "outcome": _ABSENT, "progress": _ABSENT}
_TASK_RULES: Document = {
    "$jsonSchema": {
        "required": ["v", "user", "state", "attempt", "crashes", "spec", "submitted_at"],
        "properties": {
            "attempt": {"bsonType": "long", "minimum": 0},
            "crashes": {"bsonType": "int", "minimum": 0},
            "lease": {
                "required": ["executor", "session", "claim", "by"],
                "properties": {"session": {"bsonType": "long", "minimum": 1}},
            },
            "hold": {
                "properties": {
                    "until": {"bsonType": "date"},
                    "keys": {"bsonType": "array", "items": {"bsonType": "string"}},
                },
            },
            "outcome": {"required": ["ending", "reason"]},
            "submitted_at": {"bsonType": "date"},
        },
    },
    "$or": [
        {"state": "queued", "hold": _ABSENT} | _WAITING,
        {"state": "held", "hold.keys": _PRESENT} | _WAITING,
        {
            "state": "leased",
            "lease": _PRESENT,
            "hold": _ABSENT,
            "outcome": _ABSENT,
            "attempt": {"$gte": 1},
        },
        {
            "state": "done",
            "lease": _ABSENT,
            "hold": _ABSENT,
            "outcome": _PRESENT,
            "done_at": _PRESENT,
        },
    ],
    "$expr": {
        "$and": [
            {"$eq": [{"$ifNull": ["$result_attempt", "$attempt"]}, "$attempt"]},
            {"$ne": [{"$ifNull": ["$result_attempt", 0]}, {"$ifNull": ["$retried", -1]}]},
        ]
    },
}
_EXECUTOR_RULES: Document = {
    "$jsonSchema": {
        "required": ["id", "session", "boot", "state", "owner", "slots", "seen_at"],
        "properties": {
            "session": {"bsonType": "long", "minimum": 1},
            "state": {"enum": [state.value for state in SessionState]},
            "owner": {"required": ["judicator", "incarnation"]},
        },
    }
}
_COLLECTIONS: dict[str, Document] = {
    TASKS: _TASK_RULES,
    PAYLOADS: {"data": {"$type": "binData"}},
    OUTPUTS: {"data": {"$type": "binData"}},
    BLOBS: {
        "$jsonSchema": {
            "required": ["size", "upload", "touched_at"],
            "properties": {
                "_id": {"bsonType": "binData"},
                "size": {"bsonType": "long", "minimum": 0},
                "upload": {"bsonType": "objectId"},
                "touched_at": {"bsonType": "date"},
            },
        }
    },
    BLOB_CHUNKS: {"data": {"$type": "binData"}},
    LIVE: {"data": {"$type": "binData"}, "at": {"$type": "date"}},
    JOBS: {
        "$jsonSchema": {
            "required": ["user", "spec", "submitted_at", "version", "expanded", "open"],
            "properties": {"open": {"bsonType": "bool"}, "counts": {"bsonType": "object"}},
        },
        "$or": [{"open": True}, {"open": False, "counts": _PRESENT, "done_at": _PRESENT}],
    },
    EXECUTORS: _EXECUTOR_RULES,
    PRESETS: {"task": {"$type": "binData"}, "updated_at": {"$type": "date"}},
    META: {},
}
COLLECTIONS = tuple(_COLLECTIONS)
ORDER_KEY = [("state", 1), ("shape", 1), ("rank", 1), ("submitted_at", 1), ("_id", 1)]
#: A hold has several keys; one of them is that of another task.
DEPENDENT: Document = {"state": "held", "hold.keys": {"$lt": KEYS_BELOW}}
MEMBERS_KEY = [("job", 1), ("state", 1), ("outcome.ending", 1), ("_id", 1)]
#: Nothing else has a date of its end than what has ended.
_KEPT: Document = {"keep_s": _PRESENT, "done_at": _PRESENT}
_KEPT_KEY: Document = {"keep_s": 1, "done_at": 1, "_id": 1}
_TASK_INDEXES: list[Document] = [
    {
        "name": "order",
        "key": dict(ORDER_KEY),
        "partialFilterExpression": {"state": "queued"},
    },
    {
        "name": "queued_by_date",
        "key": {"state": 1, "submitted_at": -1, "_id": -1},
        "partialFilterExpression": {"state": "queued"},
    },
    {
        "name": "held_by_date",
        "key": {"state": 1, "submitted_at": -1, "_id": -1},
        "partialFilterExpression": {"state": "held"},
    },
    {"name": "held", "key": {"state": 1, "_id": 1}, "partialFilterExpression": {"state": "held"}},
    {
        "name": "dependents",
        "key": {"_id": 1, "state": 1},
        "partialFilterExpression": DEPENDENT,
    },
    {
        "name": "expiring",
        "key": {"state": 1, "attempt": 1, "expires_at": 1},
        "partialFilterExpression": {"expires_at": {"$exists": True}},
    },
    {
        "name": "holds",
        "key": {"state": 1, "hold.keys": 1, "_id": 1},
        "partialFilterExpression": {"state": "held"},
    },
    {
        "name": "due",
        "key": {"state": 1, "hold.until": 1},
        "partialFilterExpression": {"state": "held", "hold.until": {"$exists": True}},
    },
    {
        "name": "leases",
        "key": {"state": 1, "lease.executor": 1, "lease.session": 1},
        "partialFilterExpression": {"state": "leased"},
    },
    {
        "name": "idem",
        "key": {"user": 1, "idem": 1},
        "unique": True,
        "partialFilterExpression": {"idem": {"$exists": True}},
    },
    {"name": "user", "key": {"user": 1, "submitted_at": -1, "_id": -1}},
    {"name": "time", "key": {"submitted_at": -1, "_id": -1}},
    {
        "name": "labels",
        "key": {"labels": 1, "submitted_at": -1, "_id": -1},
        "partialFilterExpression": {"labels": {"$exists": True}},
    },
    {
        "name": "priorities",
        "key": {"state": 1, "spec.priority": -1, "submitted_at": -1, "_id": -1},
        "partialFilterExpression": {"spec.priority": _PRESENT},
    },
    {
        "name": "endings",
        "key": {"outcome.ending": 1, "submitted_at": -1, "_id": -1},
        "partialFilterExpression": {"state": "done"},
    },
    {
        "name": "ended",
        "key": {"done_at": -1, "_id": -1},
        "partialFilterExpression": {"state": "done"},
    },
    {"name": "kept", "key": _KEPT_KEY, "partialFilterExpression": _KEPT},
    {
        "name": "blobs",
        "key": {"blobs": 1},
        "partialFilterExpression": {"blobs": {"$exists": True}},
    },
    {
        "name": "members",
        "key": dict(MEMBERS_KEY),
        "partialFilterExpression": {"job": {"$exists": True}},
    },
]
_JOB_INDEXES: list[Document] = [
    {"name": "open", "key": {"open": 1, "_id": 1}, "partialFilterExpression": {"open": True}},
    {
        "name": "idem",
        "key": {"user": 1, "idem": 1},
        "unique": True,
        "partialFilterExpression": {"idem": {"$exists": True}},
    },
    {"name": "user", "key": {"user": 1, "_id": -1}},
    {
        "name": "ended",
        "key": {"done_at": 1, "_id": 1},
        "partialFilterExpression": {"open": False},
    },
    {"name": "kept", "key": _KEPT_KEY, "partialFilterExpression": _KEPT},
    {"name": "blobs", "key": {"blobs": 1}, "partialFilterExpression": {"blobs": {"$exists": True}}},
]
_BLOB_INDEXES: list[Document] = [
    {"name": "touched", "key": {"touched_at": 1}},
    {"name": "upload", "key": {"upload": 1}},
]

#: By version: the index of it whose work `order` does now.
_REPLACED = {1: "ready", 2: "queue", 3: "queue", 4: "queue"}


async def ensure_schema(database: Database, *, copied: bool = False) -> None:
    """Create or update what is missing. Raise `Rejected` if a newer Khala has been here.

    `copied`: the documents were loaded from a backup, with the version but without the indexes.
    """
    with reading():
        known = await database[META].find_one({"_id": "schema"})
    version = 0 if known is None else int(known["version"])
    if version > SCHEMA_VERSION:
        raise Rejected(
            f"the database has schema version {version}, this Khala knows {SCHEMA_VERSION}:"
            " start a newer Khala on this data"
        )
    if version == SCHEMA_VERSION and not copied:
        return
    for name, rules in _COLLECTIONS.items():
        await _ensure_collection(database, name, rules)
    with changing():
        await database.command({"createIndexes": TASKS, "indexes": _TASK_INDEXES})
        await database.command({"createIndexes": BLOBS, "indexes": _BLOB_INDEXES})
        await database.command({"createIndexes": JOBS, "indexes": _JOB_INDEXES})
    if version in _REPLACED:
        await _drop_index(database, _REPLACED[version])
    if 0 < version < 5:
        await _place_in_order(database)
    await change(
        database,
        {
            "update": META,
            "updates": [
                {"q": {"_id": "schema"}, "u": {"$max": {"version": SCHEMA_VERSION}}, "upsert": True}
            ],
        },
    )


async def _place_in_order(database: Database) -> None:
    """Give a place to what was accepted before there was an order but that of submission."""
    with changing():
        await database[TASKS].update_many(
            {"state": {"$in": ["queued", "leased"]}, "rank": _ABSENT},
            [{"$set": {"rank": "$submitted_at", "shape": "$spec.image"}}],
        )


async def _drop_index(database: Database, name: str) -> None:
    with changing():
        try:
            await database.command({"dropIndexes": TASKS, "index": name})
        except OperationFailure as error:
            if error.code != 27:  # IndexNotFound: another Judicator was faster
                raise


async def _ensure_collection(database: Database, name: str, rules: Document) -> None:
    with changing():
        try:
            await database.create_collection(name, validator=rules)
        except (CollectionInvalid, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code != 48:  # NamespaceExists
                raise
            await database.command({"collMod": name, "validator": rules})
