"""Tasks by the words people use: an id, the beginning of one, `last`, `last~2`, tasks of an array
as `JOB:1-100:2`, or a list of these; and filters, as `state=queued,label=hw=3`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from khala.client import AsyncKhala, NewTask
from khala.client.request import Json
from khala.model.errors import NotFound, Rejected
from khala.model.ids import JobId
from khala.model.job import is_job_id, member_id
from khala.model.limits import LIST_LIMIT_MAX
from khala.model.ranges import parse_array, up_to
from roles.client.connection import Connection

PREFIX_MIN = 6
_ID_DIGITS = 24
_WORD = re.compile(rf"[0-9a-f]{{{PREFIX_MIN},{_ID_DIGITS}}}\Z")
_LAST = re.compile(r"last(?:~(\d{1,4}))?\Z")
_MEMBERS = re.compile(r"([^:]+):(\d.*)\Z")
_TIME_DIGITS = 8
#: Judicators' clocks give the id, the store's clock the date; they may differ a little.
_CLOCKS = timedelta(seconds=5)
#: Pages that are looked through for the beginning of an id.
_PAGES = 20
_SHOWN = 5
#: Filters that take several values; those of labels must all hold, of the others any.
_SEVERAL = ("state", "reason", "verdict", "label")
_FILTERS = (
    "q",
    *_SEVERAL,
    "user",
    "held",
    "node",
    "name",
    "id_prefix",
    "job",
    "created_after",
    "created_before",
)


async def select(
    khala: AsyncKhala, connection: Connection, words: tuple[str, ...], *, jobs: bool = False
) -> list[str]:
    """Ids in the order of the words, each once; with `jobs`, also those of jobs. Raises Rejected or
    NotFound naming the word."""
    found: dict[str, None] = {}
    for word in (part.strip() for argument in words for part in argument.split(",")):
        if members := _MEMBERS.match(word):
            job = await select_job(khala, connection, members[1])
            found |= dict.fromkeys(await _members(khala, job, members[2], word))
        elif known := _known(connection, word):
            if is_job_id(known) and not jobs:
                raise Rejected(
                    f"{word!r} names job {known}, a task is needed: one of its tasks, as"
                    f" {known}:0-99; or see khala.pex job --help"
                )
            found[known] = None
        else:
            found[await _complete(khala, word)] = None
    return list(found)


async def select_one(
    khala: AsyncKhala, connection: Connection, word: str, *, jobs: bool = False
) -> str:
    ids = await select(khala, connection, (word,), jobs=jobs)
    if len(ids) != 1:
        raise Rejected(f"{word!r} names {len(ids)} tasks, one is needed")
    return ids[0]


async def select_job(khala: AsyncKhala, connection: Connection, word: str) -> str:
    """A job by its id, the beginning of it, or `last`."""
    known = _known(connection, word)
    if known is not None:
        if not is_job_id(known):
            raise Rejected(f"{word!r} names task {known}, a job is needed")
        return known
    matches: list[str] = []
    cursor = None
    for _ in range(_PAGES):
        page = await khala.list_jobs(limit=500, cursor=cursor)
        matches += [job.id for job in page.items if job.id.startswith(word)]
        cursor = page.next_cursor
        if cursor is None:
            break
    return _the_one(matches, word, "job")


def _known(connection: Connection, word: str) -> str | None:
    """The id that needs no looking for; None for the beginning of one."""
    if last := _LAST.match(word):
        return connection.last(int(last[1] or 0))
    if not _WORD.match(word):
        raise Rejected(
            f"{word!r} names no task: give an id, its first {PREFIX_MIN} digits or more, last,"
            " last~1 for the one before, or JOB:1-100:2 for tasks of an array"
        )
    return word if len(word) == _ID_DIGITS else None


async def _complete(khala: AsyncKhala, prefix: str) -> str:
    """The first eight digits of an id are the second of its submission, and what joined the queue
    before is not looked at; members of a job join it later."""
    first = int(prefix[:_TIME_DIGITS].ljust(_TIME_DIGITS, "0"), 16)
    since = datetime.fromtimestamp(first, UTC) - _CLOCKS
    filters = {"id_prefix": prefix, "created_after": since.isoformat(), "order": "oldest"}
    matches: list[str] = []
    cursor = None
    for _ in range(_PAGES):
        page = await khala.list_page(filters=filters, limit=_SHOWN + 1, cursor=cursor)
        matches += [row.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None or len(matches) > _SHOWN:
            break
    return _the_one(matches, prefix, "task")


def _the_one(matches: list[str], prefix: str, what: str) -> str:
    if not matches:
        raise NotFound(f"no {what} begins with {prefix}")
    if len(matches) > 1:
        shown = ", ".join(matches[:_SHOWN])
        raise Rejected(f"{prefix} is the beginning of several {what}s: {shown}; give more digits")
    return matches[0]


async def _members(khala: AsyncKhala, job_id: str, text: str, word: str) -> list[str]:
    wanted = parse_array(text, field=repr(word)).indexes
    if wanted.size > LIST_LIMIT_MAX:
        raise Rejected(
            f"{word!r} names {wanted.size} tasks, {LIST_LIMIT_MAX} are possible; see the commands"
            " of jobs, or --filter"
        )
    job = await khala.get_job(job_id)
    own = parse_array(job.array).indexes if job.array else up_to(job.size)
    ids: list[str] = []
    for index in map(wanted.at, range(1, wanted.size + 1)):
        position = own.position_of(index)
        if position is None:
            has = f"its indexes are {job.array or f'0-{job.size - 1}'}"
            raise NotFound(f"{word!r}: job {job.id} has no task {index}; {has}")
        ids.append(member_id(JobId(job.id), position))
    return ids


def filter_of(text: str) -> Json:
    """`state=queued,label=hw=3` as the document of a filter. Raises Rejected naming the word."""
    found: Json = {}
    for word in text.split(","):
        name, equals, value = word.strip().partition("=")
        if not equals or name not in _FILTERS:
            raise Rejected(
                f"--filter: NAME=VALUE is expected, {word[:80]!r} was given; the names are"
                f" {', '.join(_FILTERS)}",
                field="--filter",
            )
        if name == "label" and "=" not in value:
            value = value.replace(":", "=", 1)
        if name in _SEVERAL:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise Rejected(f"--filter: {name} is given twice", field="--filter")
        else:
            found[name] = int(value) if name == "user" and value.isdecimal() else value
    return found


def parameters_of(matching: Json) -> dict[str, str]:
    """The same as parameters of the list."""
    return {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in matching.items()
    }


async def select_predecessors(khala: AsyncKhala, connection: Connection, task: NewTask) -> NewTask:
    """The same task, with ids for the words of `--after`."""
    found: list[str] = []
    for text in task.depends_on:
        word, colon, on = text.partition(":")
        found.append(await select_one(khala, connection, word, jobs=True) + colon + on)
    return replace(task, depends_on=tuple(found))
