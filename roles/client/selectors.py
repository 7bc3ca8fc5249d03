"""Tasks by the words people use: an id, the beginning of one, `last`, `last~2`, or a list of these.

The first eight digits of an id are the second of its submission. So the beginning of an id is
looked for among the tasks of its seconds, and needs no index of its own.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from khala.client import AsyncKhala
from khala.model.errors import NotFound, Rejected
from roles.client.connection import Connection

PREFIX_MIN = 6
_ID_DIGITS = 24
_TIME_DIGITS = 8
_WORD = re.compile(rf"[0-9a-f]{{{PREFIX_MIN},{_ID_DIGITS}}}\Z")
_LAST = re.compile(r"last(?:~(\d{1,4}))?\Z")
#: Judicators' clocks give the id, the store's clock the date; they may differ a little.
_CLOCKS = timedelta(seconds=5)
#: Pages that are looked through for the beginning of an id.
_PAGES = 20
_SHOWN = 5


async def select(khala: AsyncKhala, connection: Connection, words: tuple[str, ...]) -> list[str]:
    """Ids in the order of the words, each once. Raises Rejected or NotFound naming the word."""
    found: dict[str, None] = {}
    for word in (part.strip() for argument in words for part in argument.split(",")):
        if last := _LAST.match(word):
            found[connection.last(int(last[1] or 0))] = None
        elif not _WORD.match(word):
            raise Rejected(
                f"{word!r} names no task: give an id, its first {PREFIX_MIN} digits or more, last,"
                " or last~1 for the one before"
            )
        elif len(word) == _ID_DIGITS:
            found[word] = None
        else:
            found[await _complete(khala, word)] = None
    return list(found)


async def select_one(khala: AsyncKhala, connection: Connection, word: str) -> str:
    ids = await select(khala, connection, (word,))
    if len(ids) != 1:
        raise Rejected(f"{word!r} names {len(ids)} tasks, one is needed")
    return ids[0]


async def _complete(khala: AsyncKhala, prefix: str) -> str:
    known = prefix[:_TIME_DIGITS]
    first = int(known.ljust(_TIME_DIGITS, "0"), 16)
    last = int(known.ljust(_TIME_DIGITS, "f"), 16)
    created = (
        datetime.fromtimestamp(first, UTC) - _CLOCKS,
        datetime.fromtimestamp(last + 1, UTC) + _CLOCKS,
    )
    matches: list[str] = []
    cursor = None
    for _ in range(_PAGES):
        page = await khala.list_page(created=created, limit=500, cursor=cursor)
        matches += [row.id for row in page.items if row.id.startswith(prefix)]
        cursor = page.next_cursor
        if cursor is None or len(matches) > _SHOWN:
            break
    if not matches:
        raise NotFound(f"no task begins with {prefix}")
    if len(matches) > 1:
        shown = ", ".join(matches[:_SHOWN])
        raise Rejected(f"{prefix} is the beginning of several tasks: {shown}; give more digits")
    return matches[0]
