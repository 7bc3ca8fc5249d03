"""Removing what has ended, on an administrator's word.

POST /rpc/v1/retention   Forget -> Answer
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.retention import Forgotten, Retention


class Forget(Struct, frozen=True, kw_only=True):
    #: None: what this judicator goes by.
    keep: Retention | None = None
    #: Only say what would go.
    dry_run: bool = False


class Answer(Struct, frozen=True, kw_only=True):
    #: What was kept to.
    keep: Retention
    forgotten: Forgotten
