"""What a user may have of the cluster, and has."""

from __future__ import annotations

from msgspec import Struct


class QuotaLine(Struct, frozen=True, kw_only=True):
    """One bound."""

    #: None: there is none.
    limit: int | None
    #: None where there is no limit, because then nobody counts.
    used: float | None


class Quota(Struct, frozen=True, kw_only=True):
    """The bounds of a user and what it has of each."""

    user: int
    #: Tasks that wait, those of jobs included; more are refused.
    queued: QuotaLine
    #: Tasks that run; more wait.
    running: QuotaLine
    #: Processor seconds of the tasks that ended since midnight, UTC; more tasks wait for the next.
    cpu_s: QuotaLine
    #: Documents and outputs, without blobs, at most a minute old; then tasks are refused.
    stored_bytes: QuotaLine
