"""The indexes of an array, as people write them: `0-99`, `1-100:2`, `1,3,5-8`, and `%8` behind it.

They are kept as ranges, so that an array of a hundred thousand is as small as one of ten, and a
member's index follows from its position alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.limits import ARRAY_INDEX, ARRAY_RANGES, ARRAY_TASKS

_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10})(?::(\d{1,10}))?)?\Z")


class Indexes(Struct, frozen=True, kw_only=True):
    """Ascending and without repetition: first, last (which is one of them) and step of each."""

    ranges: tuple[tuple[int, int, int], ...]

    @property
    def size(self) -> int:
        return sum((last - first) // step + 1 for first, last, step in self.ranges)

    @property
    def text(self) -> str:
        """As people write them."""
        words = []
        for first, last, step in self.ranges:
            word = str(first) if first == last else f"{first}-{last}"
            words.append(word if step == 1 or first == last else f"{word}:{step}")
        return ",".join(words)

    def at(self, position: int) -> int:
        """The index of the member at `position`, counted from 1."""
        left = position - 1
        for first, last, step in self.ranges:
            count = (last - first) // step + 1
            if left < count:
                return first + left * step
            left -= count
        raise IndexError(position)

    def position_of(self, index: int) -> int | None:
        """The reverse of `at`; None for an index that is none of them."""
        before = 0
        for first, last, step in self.ranges:
            if first <= index <= last and (index - first) % step == 0:
                return before + (index - first) // step + 1
            before += (last - first) // step + 1
        return None


class Array(Struct, frozen=True, kw_only=True):
    indexes: Indexes
    #: Members that may be under way at a time; None: as many as there is room for.
    limit: int | None = None


def ranges_of(indexes: Sequence[int]) -> Indexes:
    """Of ascending indexes; those that follow each other are one range."""
    ranges: list[tuple[int, int, int]] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = (ranges[-1][0], index, 1)
        else:
            ranges.append((index, index, 1))
    return Indexes(ranges=tuple(ranges))


def up_to(count: int) -> Indexes:
    """0 to `count` - 1."""
    return Indexes(ranges=((0, count - 1, 1),))


def parse_array(text: str, *, field: str = "array") -> Array:
    """Raise `Rejected` unless it is one."""
    listed, percent, limit_text = text.replace(" ", "").partition("%")
    limit: int | None = None
    if percent:
        if not limit_text.isdecimal() or len(limit_text) > 6 or not int(limit_text):
            raise Rejected(
                f"{field}: behind % stands how many may run at a time, {limit_text[:20]!r} does not"
                " say it",
                field=field,
            )
        limit = int(limit_text)
    words = listed.split(",")
    if len(words) > ARRAY_RANGES:
        raise Rejected(
            f"{field}: {len(words)} ranges are more than {ARRAY_RANGES}; send a list of tasks",
            field=field,
        )
    ranges = [_parse_range(word, field) for word in words]
    before = -1
    for first, last, _ in ranges:
        if first <= before:
            raise Rejected(
                f"{field}: indexes ascend and do not repeat; {first} comes after {before}",
                field=field,
            )
        before = last
    indexes = Indexes(ranges=tuple(ranges))
    if indexes.size > ARRAY_TASKS:
        raise Rejected(
            f"{field}: {indexes.size} tasks are more than the {ARRAY_TASKS} of one job;"
            " submit several",
            field=field,
        )
    return Array(indexes=indexes, limit=limit)


def _parse_range(word: str, field: str) -> tuple[int, int, int]:
    found = _RANGE.match(word)
    if found is None:
        raise Rejected(
            f"{field}: indexes are written as 0-99, 1-100:2 or 1,3,5-8, with %8 behind it for"
            f" eight at a time; {word[:40]!r} is not among these",
            field=field,
        )
    first = int(found[1])
    last = first if found[2] is None else int(found[2])
    step = 1 if found[3] is None else int(found[3])
    if last < first or not step or last > ARRAY_INDEX:
        raise Rejected(
            f"{field}: a range goes up, by steps of 1 or more, and to {ARRAY_INDEX} at most;"
            f" {word[:40]!r} does not",
            field=field,
        )
    return first, last - (last - first) % step, step
