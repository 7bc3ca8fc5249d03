"""The files that a task leaves and was asked for, out of its box, or of the boxes of its cases.

Of a task that failed too: what it left may say why. Nobody waits for a cancelled one's.
"""

from __future__ import annotations

import msgspec

from khala.model.outcome import Bundle, Outcome, Reason
from roles.executor.attempt import Attempt, unless_cancelled
from roles.executor.reserve import Reserve
from sandbox import Box, Collector

#: Where a task with cases has what they all began with, and what each of them left.
COMPILED = b"compile/"


def folder_of(case: int) -> bytes:
    return b"cases/%d/" % case


class LeftFiles:
    """Of one attempt."""

    def __init__(self, attempt: Attempt, reserve: Reserve) -> None:
        request = attempt.spec.artifacts
        target = attempt.folder / Bundle.ARTIFACTS
        self._collector = Collector(request, target) if request is not None else None
        self._attempt = attempt
        self._reserve = reserve

    async def add(self, box: Box, folder: bytes = b"") -> None:
        """When a stage is over. Raises OSError."""
        collector, cancel = self._collector, self._attempt.cancel
        if collector is None or cancel.is_set():
            return
        async with self._reserve.awaited(collector.bytes_left):
            await unless_cancelled(box.collect(collector, folder), cancel)

    def named_in(self, outcome: Outcome) -> Outcome:
        """The outcome with their list."""
        cancelled = outcome.reason is Reason.CANCELLED or self._attempt.cancel.is_set()
        if self._collector is None or cancelled:
            return outcome
        return msgspec.structs.replace(outcome, artifacts=self._collector.done())
