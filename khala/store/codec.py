"""Structs to BSON and back: the shape of every stored document in one place.

The only module that knows field names of documents. Documents are read tolerantly (unknown fields
are ignored, so a newer version may add some) but typed strictly: what comes out is a model
struct or an exception, never a half-read dict.

attempt, session and term are always 64-bit in BSON: they only grow, and an index or a filter must
not meet them in two types. Bytes of a payload or an output that are inline stay out of every
projection but the one that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from bson import Binary, Int64, ObjectId
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from khala.model.attempts import AttemptEnd, PastAttempt
from khala.model.cases import Score, Verdict
from khala.model.executor import ExecutorRecord
from khala.model.holds import RELEASE, Hold, HoldKey
from khala.model.ids import AttemptNo, ExecutorName, TaskId
from khala.model.order import rank_of
from khala.model.outcome import Cancellation, Ending, Outcome, Reason
from khala.model.spec import Member, PartRef, Stage, TaskSpec
from khala.model.statements import Candidate, HeldLease, HeldTask, Lease, NewTask, OpenSession
from khala.model.task import Dispatch, Progress, Task, TaskBrief, project_state
from khala.store.dates import to_ms

Document: TypeAlias = dict[str, Any]
Database: TypeAlias = AsyncDatabase[Document]
Collection: TypeAlias = AsyncCollection[Document]

#: Of the document's own layout; a reader refuses a greater one.
DOCUMENT_VERSION = 1

#: What a `TaskBrief` is made of.
BRIEF_FIELDS = {
    "user": 1,
    "state": 1,
    "attempt": 1,
    "progress": 1,
    "lease.executor": 1,
    "spec.name": 1,
    "outcome.ending": 1,
    "outcome.stage": 1,
    "outcome.executor": 1,
    "outcome.reason": 1,
    "outcome.judgement.verdict": 1,
    "outcome.score": 1,
    "outcome.cancellation": 1,
    "submitted_at": 1,
    "updated_at": 1,
    "done_at": 1,
    "spec.member": 1,
    "spec.labels": 1,
    "spec.priority": 1,
    "hold.keys": 1,
    "past.end": 1,
}
CANDIDATE_FIELDS = {"user": 1, "attempt": 1, "crashes": 1, "submitted_at": 1, "spec": 1, "idem": 1}
HELD_FIELDS = {"attempt": 1, "lease.executor": 1, "lease.session": 1}


def object_id(task: TaskId) -> ObjectId:
    return ObjectId(task)


def task_id(value: ObjectId) -> TaskId:
    return TaskId(str(value))


def lease_doc(lease: Lease) -> Document:
    return {
        "executor": lease.executor,
        "session": Int64(lease.session),
        "claim": lease.claim,
        "by": lease.by,
    }


def lease_of(doc: Mapping[str, Any]) -> Lease | None:
    lease = doc.get("lease")
    return None if lease is None else msgspec.convert(lease, Lease)


def outcome_doc(outcome: Outcome) -> Document:
    built: Document = msgspec.to_builtins(outcome, builtin_types=(bytes,))
    return built


def _outcome_of(doc: Mapping[str, Any]) -> Outcome | None:
    outcome = doc.get("outcome")
    return None if outcome is None else msgspec.convert(outcome, Outcome)


def past_doc(attempt: PastAttempt) -> Document:
    doc: Document = msgspec.to_builtins(attempt, builtin_types=(bytes, datetime))
    doc["attempt"] = Int64(attempt.attempt)
    return doc


def _past_of(doc: Mapping[str, Any]) -> tuple[PastAttempt, ...]:
    return tuple(
        msgspec.convert({**each, "attempt": int(each["attempt"])}, PastAttempt)
        for each in doc.get("past", ())
    )


def _attempt_of(doc: Mapping[str, Any], field: str) -> AttemptNo | None:
    number = doc.get(field)
    return None if number is None else AttemptNo(int(number))


def _part_doc(ref: PartRef) -> Document:
    doc: Document = {"size": ref.size_bytes, "sha256": Binary(bytes.fromhex(ref.sha256))}
    if ref.inline is not None:
        doc["data"] = ref.inline
    if ref.blob:
        doc["blob"] = True
    return doc


def _part_of(doc: Mapping[str, Any]) -> PartRef:
    return PartRef(
        size_bytes=int(doc["size"]),
        sha256=bytes(doc["sha256"]).hex(),
        inline=doc.get("data"),
        blob=doc.get("blob", False),
    )


def spec_doc(spec: TaskSpec) -> Document:
    doc: Document = msgspec.to_builtins(spec, builtin_types=(bytes,))
    del doc["user"]  # beside the spec, where the indexes have it
    doc["parts"] = {part.value: _part_doc(ref) for part, ref in spec.parts.items()}
    return doc


def spec_of(doc: Mapping[str, Any]) -> TaskSpec:
    spec = doc["spec"]
    parts = {name: _part_of(part) for name, part in spec["parts"].items()}
    return msgspec.convert({**spec, "user": int(doc["user"]), "parts": parts}, TaskSpec)


def new_task_doc(item: NewTask) -> Document:
    """A task as it is inserted: queued, held, or with a lease as attempt 1."""
    submitted_at = to_ms(item.submitted_at)
    doc: Document = {
        "_id": object_id(item.id),
        "v": DOCUMENT_VERSION,
        "user": item.spec.user,
        "state": Dispatch.QUEUED.value,
        "attempt": Int64(item.attempts_before),
        "crashes": 0,
        "submitted_at": submitted_at,
        "updated_at": submitted_at,
        "rank": to_ms(rank_of(submitted_at, item.spec.priority)),
        "spec": spec_doc(item.spec),
    }
    if item.spec.member is not None:
        doc["job"] = ObjectId(item.spec.member.job)
    elif item.spec.retention_s is not None:
        doc["keep_s"] = Int64(item.spec.retention_s)
    if item.spec.blobs:
        doc["blobs"] = [Binary(bytes.fromhex(name)) for name in item.spec.blobs]
    if item.spec.shape:
        doc["shape"] = item.spec.shape
    if item.spec.labels:
        doc["labels"] = label_texts(item.spec.labels)
    if item.key is not None:
        doc["idem"] = item.key
        doc["idem_fp"] = Binary(item.fingerprint)
    if item.expires_at is not None:
        doc["expires_at"] = to_ms(item.expires_at)
    if item.lease is not None:
        doc["state"] = Dispatch.LEASED.value
        doc["attempt"] = Int64(item.attempts_before + 1)
        doc["lease"] = lease_doc(item.lease)
        doc["started_at"] = submitted_at
    elif item.ended is not None:
        doc["state"] = Dispatch.DONE.value
        doc["outcome"] = outcome_doc(item.ended)
        doc["done_at"] = submitted_at
    elif item.hold is not None:
        doc["state"] = Dispatch.HELD.value
        doc["hold"] = _hold_doc(item.hold)
    return doc


def label_texts(labels: Mapping[str, str]) -> list[str]:
    """As the index has them."""
    return sorted(map("=".join, labels.items()))


def _hold_doc(hold: Hold) -> Document:
    doc: Document = {"keys": list(hold.keys)}
    if hold.until is not None:
        doc["until"] = to_ms(hold.until)
    return doc


def _hold_of(doc: Mapping[str, Any]) -> Hold:
    return Hold(until=doc.get("until"), keys=tuple(HoldKey(key) for key in doc["keys"]))


def held_task_of(doc: Mapping[str, Any]) -> HeldTask:
    return HeldTask(id=task_id(doc["_id"]), hold=_hold_of(doc["hold"]))


def _executor_name(doc: Mapping[str, Any]) -> ExecutorName | None:
    lease = doc.get("lease")
    return None if lease is None else ExecutorName(lease["executor"])


def _progress(doc: Mapping[str, Any]) -> Progress | None:
    progress = doc.get("progress")
    return None if progress is None else Progress(progress)


def task_of(doc: Mapping[str, Any]) -> Task:
    return Task(
        id=task_id(doc["_id"]),
        spec=spec_of(doc),
        dispatch=Dispatch(doc["state"]),
        attempt=AttemptNo(int(doc["attempt"])),
        crashes=int(doc["crashes"]),
        submitted_at=doc["submitted_at"],
        updated_at=doc["updated_at"],
        executor=_executor_name(doc),
        progress=_progress(doc),
        outcome=_outcome_of(doc),
        result_attempt=_attempt_of(doc, "result_attempt"),
        hold=_hold_of(doc["hold"]) if "hold" in doc else None,
        started_at=doc.get("started_at"),
        done_at=doc.get("done_at"),
        past=_past_of(doc),
        retries=doc.get("retries", 0),
        retried=_attempt_of(doc, "retried"),
        patch=doc.get("patch"),
        keyed="idem" in doc,
    )


def brief_of_doc(doc: Mapping[str, Any]) -> TaskBrief:
    """From a document with at least `BRIEF_FIELDS`."""
    outcome = doc.get("outcome", {})
    ending, stage, reason = (outcome.get(name) for name in ("ending", "stage", "reason"))
    verdict = outcome.get("judgement", {}).get("verdict")
    return TaskBrief(
        id=task_id(doc["_id"]),
        user=int(doc["user"]),
        state=project_state(
            Dispatch(doc["state"]), _progress(doc), None if ending is None else Ending(ending)
        ),
        attempt=AttemptNo(int(doc["attempt"])),
        submitted_at=doc["submitted_at"],
        updated_at=doc["updated_at"],
        executor=_executor_name(doc) or outcome.get("executor"),
        stage=None if stage is None else Stage(stage),
        reason=None if reason is None else Reason(reason),
        name=doc.get("spec", {}).get("name", ""),
        verdict=None if verdict is None else Verdict(verdict),
        score=msgspec.convert(outcome.get("score"), Score | None),
        done_at=doc.get("done_at"),
        member=msgspec.convert(doc.get("spec", {}).get("member"), Member | None),
        labels=doc.get("spec", {}).get("labels", {}),
        priority=doc.get("spec", {}).get("priority", 0),
        cancellation=msgspec.convert(outcome.get("cancellation"), Cancellation | None),
        held=RELEASE in doc.get("hold", {}).get("keys", ()),
        again=any(each["end"] != AttemptEnd.RETURNED for each in doc.get("past", ())),
    )


def candidate_of(doc: Mapping[str, Any]) -> Candidate:
    return Candidate(
        id=task_id(doc["_id"]),
        attempt=AttemptNo(int(doc["attempt"])),
        crashes=int(doc["crashes"]),
        spec=spec_of(doc),
        submitted_at=doc["submitted_at"],
        keyed="idem" in doc,
    )


def held_of(doc: Mapping[str, Any]) -> HeldLease:
    return msgspec.convert(
        {
            "id": str(doc["_id"]),
            "attempt": int(doc["attempt"]),
            "executor": doc["lease"]["executor"],
            "session": int(doc["lease"]["session"]),
        },
        HeldLease,
    )


def session_fields(item: OpenSession) -> Document:
    """What a Hello writes into its executor's row, apart from the session number."""
    return {
        "boot": item.boot,
        "owner": msgspec.to_builtins(item.owner),
        "slots": item.slots,
        "version": item.version,
        "enforcement": item.enforcement,
        "images": msgspec.to_builtins(item.images),
        "networks": msgspec.to_builtins(item.networks),
        "enforces": msgspec.to_builtins(item.enforces),
        "capacity": {name: Int64(amount) for name, amount in item.capacity.items()},
        "labels": item.labels,
        "speaks": item.speaks,
    }


def executor_of(doc: Mapping[str, Any]) -> ExecutorRecord:
    return msgspec.convert({**doc, "name": doc["_id"], "id": str(doc["id"])}, ExecutorRecord)
