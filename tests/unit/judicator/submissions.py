"""Submissions to the judicator of a desk, where no quotas are set."""

from __future__ import annotations

from typing import cast

from khala.core.dependencies import Dependencies
from khala.model.quota import ToldQuotas
from khala.model.retention import Retention
from khala.store.quotas import MongoQuotas
from roles.judicator.quotas import Admission
from roles.judicator.quotas_in_force import QuotasInForce
from roles.judicator.submit import Submissions, SubmitParts
from tests.unit.core.desk import Desk


class Unasked:
    """Without quotas nobody counts."""

    async def count_queued(self, user: int) -> int:
        raise AssertionError(user)

    async def stored_bytes(self, user: int) -> int:
        raise AssertionError(user)


def refused(quota: str) -> None:
    raise AssertionError(quota)


def submissions_to(desk: Desk, keep: Retention | None = None) -> Submissions:
    store = cast(MongoQuotas, Unasked())
    in_force = QuotasInForce(ToldQuotas(), store)
    parts = SubmitParts(
        dependencies=Dependencies(desk.dispatcher, desk.memory.predecessors, desk),
        admission=Admission(in_force, store, desk.dispatcher, refused),
        blobs=desk.memory.blobs,
        executors=desk.memory.sessions,
        keep=lambda: keep or Retention(),
    )
    return Submissions(desk.dispatcher, parts, 1 << 20)
