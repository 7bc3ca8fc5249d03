"""What a word that somebody searches for may stand for, whichever store looks: a part of a name,
the beginning of an id, a label."""

from __future__ import annotations

import re
from collections.abc import Iterable

from khala.model.ids import JobId, TaskId
from khala.model.job import is_job_id, members_prefix
from khala.model.limits import ID_PREFIX_MIN

_ID_DIGITS = 24
_DIGITS = re.compile(rf"[0-9A-Fa-f]{{{ID_PREFIX_MIN},{_ID_DIGITS}}}\Z")


def id_prefix_of(word: str) -> str | None:
    """How the ids begin that it may stand for: of a job's, those of its members."""
    if not _DIGITS.match(word):
        return None
    digits = word.lower()
    whole = len(digits) == _ID_DIGITS
    return members_prefix(JobId(digits)) if whole and is_job_id(digits) else digits


def whole_ids(words: Iterable[str]) -> list[TaskId]:
    """Those that would be a task's, and not a job's."""
    prefixes = map(id_prefix_of, words)
    return [TaskId(each) for each in prefixes if each is not None and len(each) == _ID_DIGITS]


def label_of(word: str) -> str | None:
    """The label that it may stand for, as `key=value`."""
    return word if "=" in word[1:] else None
