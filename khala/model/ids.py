"""Identifiers: one NewType each, so that a checker refuses a session where an attempt is due.

Task ids are MongoDB ObjectIds in text (24 lower-case hex digits): KV2's clients match them with
`^[a-f0-9]{24}$`, and their leading seconds make `_id` order almost the order of submission.
They are minted by the Judicator that accepts a task, before any database call, so that a write
whose answer was lost can be looked up by its id.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
from datetime import UTC, datetime
from typing import NewType

from khala.model.errors import Rejected

TaskId = NewType("TaskId", str)
#: As a task's id, with six zeros at the end; those of its members count from 1 on there.
JobId = NewType("JobId", str)
ExecutorName = NewType("ExecutorName", str)
JudicatorName = NewType("JudicatorName", str)
#: One life of an executor process; a new boot means that nothing of the old one runs any more.
BootId = NewType("BootId", str)
#: One life of a Judicator's serving process.
Incarnation = NewType("Incarnation", str)
#: Fencing token of a task: only a lease increments it.
AttemptNo = NewType("AttemptNo", int)
#: Registration of an executor; only grows.
SessionNo = NewType("SessionNo", int)
#: Leadership period, allocated in MongoDB; only grows.
Term = NewType("Term", int)

_TASK_ID = re.compile(r"[a-f0-9]{24}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_process = secrets.token_bytes(5)
_counter = itertools.count(int.from_bytes(os.urandom(3), "big"))


def mint_task_id() -> TaskId:
    """A new ObjectId: seconds, a random part of this process, a counter."""
    seconds = int(time.time()).to_bytes(4, "big")
    serial = (next(_counter) & 0xFFFFFF).to_bytes(3, "big")
    return TaskId((seconds + _process + serial).hex())


def id_date(minted: str) -> datetime:
    """When a task's id, or another one of its form, was minted, to the second, by the clock of
    whoever did."""
    return datetime.fromtimestamp(int(minted[:8], 16), UTC)


def parse_task_id(text: str, *, field: str = "id") -> TaskId:
    """Raise `Rejected` unless `text` is a task id."""
    if not _TASK_ID.match(text):
        raise Rejected(
            f"{field}: a task id is 24 digits of 0-9 and a-f; {text[:40]!r} is not", field=field
        )
    return TaskId(text)


def check_name(text: str, *, field: str = "name") -> str:
    """Raise `Rejected` unless `text` can name a node: it becomes part of paths, keys and logs."""
    if not _NAME.match(text):
        raise Rejected(
            f"{field}: a name has 1 to 63 letters, digits, '.', '_' or '-' and starts with a"
            f" letter or digit; {text[:80]!r} does not",
            field=field,
        )
    return text


def mint_nonce() -> str:
    """16 hex digits for boots, incarnations and claims: unique, not secret."""
    return secrets.token_hex(8)
