"""What became of an act on many tasks."""

from __future__ import annotations

from msgspec import Struct

from khala.model.ids import TaskId


class ActFailure(Struct, frozen=True, kw_only=True):
    """A task of many that an act did not reach."""

    id: TaskId
    detail: str


class Acted(Struct, frozen=True, kw_only=True):
    """What became of an act on many tasks."""

    #: Tasks of the filter, of those that the act is for.
    matched: int
    cancelled: int
    #: They ended meanwhile.
    already_done: int
    #: They go on; the act may be repeated.
    failed: int
    #: The first few.
    failures: list[ActFailure]
    #: They are as the patch says.
    patched: int = 0
    #: They began, or ended, meanwhile: the patch is for tasks that wait.
    not_waiting: int = 0
