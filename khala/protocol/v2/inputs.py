"""All that a task was given, byte for byte, so that it can be run somewhere else."""

from __future__ import annotations

from msgspec import Struct

from khala.model.spec import Part, StageLimits


class InputFile(Struct, frozen=True, kw_only=True):
    """One part of what a task was given. Archives are zip archives, whatever was sent."""

    name: Part
    #: Where its bytes are.
    href: str
    size: int
    sha256: str


class CaseInput(Struct, frozen=True, kw_only=True):
    """How much of the part `cases` belongs to a case. The bytes of all cases stand there in their
    order, of each first its standard input and then what is expected."""

    stdin: int
    expected: int


class TaskInputs(Struct, frozen=True, kw_only=True):
    """The parts of a task, and what of its options its own document does not say."""

    files: list[InputFile]
    #: One for each case of the task.
    cases: list[CaseInput] = []
    #: Of each question to a checker; null for those of the execute stage.
    check_limits: StageLimits | None = None
    #: Of a task of an array with entries: its own.
    entry: str | None = None
