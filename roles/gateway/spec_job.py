"""The documents of `POST /api/v2/jobs` and `POST /api/v2/tasks/batch`, and the jobs they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace

from khala.model.errors import Rejected
from khala.model.limits import (
    ARRAY_TASKS,
    ENTRIES_BYTES,
    ENTRY_BYTES,
    JOB_NAME_CHARS,
    LIST_TASKS,
)
from khala.model.ranges import Array, parse_array, up_to
from khala.net.client import JudicatorClient
from khala.protocol.jobs import SubmitJob
from khala.protocol.rpc import SubmitTask
from khala.protocol.v2 import Issue, IssueCode
from roles.gateway.bodies import off_loop
from roles.gateway.bounds import chars, items, told, within
from roles.gateway.callers import Caller
from roles.gateway.config import GatewayConfig
from roles.gateway.issues import Invalid, Issues, step
from roles.gateway.ownership import user_of
from roles.gateway.spec import TaskSpecV2
from roles.gateway.spec_blobs import load_blobs
from roles.gateway.spec_files import inflates
from roles.gateway.spec_task import TaskDocument, task_of_spec


class JobSpecV2(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `task`, repeated for an `array` or for `entries`, or `tasks`."""

    name: Annotated[str, chars(JOB_NAME_CHARS)] = ""
    #: What every member of an array does. It sees which one it is: KHALA_ARRAY_INDEX, KHALA_ENTRY.
    task: TaskSpecV2 | None = None
    #: Indexes as 0-99, 1-100:2 or 1,3,5-8, with %8 behind them for eight at a time.
    array: Annotated[str, told(pattern="^[-0-9,:% ]+$")] | None = None
    #: One text for each index; without an array they are counted from 0.
    entries: (
        Annotated[tuple[Annotated[str, chars(ENTRY_BYTES)], ...], items(1, ARRAY_TASKS)] | None
    ) = None
    #: Tasks that differ.
    tasks: Annotated[tuple[TaskSpecV2, ...], items(0, LIST_TASKS)] = ()
    #: The job stops when more than these have failed.
    max_fails: Annotated[int, within(0, ARRAY_TASKS)] | None = None
    #: None of its tasks begins before it is released, with `PATCH`.
    held: bool = False


class BatchSpecV2(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tasks that have nothing to do with each other."""

    tasks: Annotated[tuple[TaskSpecV2, ...], items(1, LIST_TASKS)]


class JobBuilder(Struct, frozen=True, kw_only=True):
    """Checks documents against this gateway's limits, and fetches what they name."""

    client: JudicatorClient
    config: GatewayConfig
    caller: Caller

    async def build(self, spec: JobSpecV2, key: str) -> SubmitJob:
        """Raise `Invalid` with every fault."""
        issues = Issues()
        array = _array_of(spec, issues)
        _check_shape(spec, issues)
        _check_rest(spec, issues)
        listed = [] if spec.task is None else [spec.task]
        listed += spec.tasks[:LIST_TASKS]
        pointers = ["/task"] if spec.task is not None else []
        pointers += [f"/tasks{step(index)}" for index in range(len(spec.tasks))]
        tasks: list[SubmitTask] = []
        found: list[Issue] = issues.found
        for document, pointer in zip(listed, pointers, strict=False):
            if document.held:
                detail = (
                    "tasks of a job are accepted together: hold the job, or one when it is there"
                )
                issues.add(f"{pointer}/held", IssueCode.INVALID_VALUE, detail, given=True)
            made = await self.build_task(document, key="", pointer=pointer)
            if isinstance(made, Invalid):
                found += [replace(each, pointer=pointer + each.pointer) for each in made.issues]
            else:
                tasks.append(made)
        if found:
            raise Invalid(found)
        task = tasks[0] if spec.task is not None else None
        return SubmitJob(
            user=tasks[0].user,
            name=spec.name,
            task=task,
            indexes=array.indexes if array else None,
            entries=None if spec.entries is None else list(spec.entries),
            tasks=[] if task is not None else tasks,
            limit=array.limit if array else None,
            max_fails=spec.max_fails,
            key=key,
            held=spec.held,
        )

    async def build_task(self, spec: TaskSpecV2, key: str, pointer: str) -> SubmitTask | Invalid:
        """Faults are returned, because those of its neighbours are to be told, too. Raise
        `Forbidden`."""
        spec = replace(spec, user=user_of(self.caller, spec.user, f"{pointer}/user"))
        blobs = await load_blobs(self.client, spec, self.config.max_body_bytes)
        given = (TaskDocument(spec=spec), blobs, self.config, key)
        try:
            task = await off_loop(inflates(spec), task_of_spec, *given)
        except Invalid as invalid:
            return invalid
        return task if key else replace(task, key=None)


def wrong_count(count: int) -> Invalid:
    """A batch of none, or of too many."""
    code = IssueCode.TOO_MANY if count else IssueCode.MISSING_FIELD
    detail = f"1 to {LIST_TASKS} tasks are possible, {count} were given"
    issue = Issue(pointer="/tasks", code=code, detail=detail, limit=LIST_TASKS, given=count)
    return Invalid([issue])


def _array_of(spec: JobSpecV2, issues: Issues) -> Array | None:
    array: Array | None = None
    if spec.array is not None:
        try:
            array = parse_array(spec.array)
        except Rejected as error:
            detail = error.message.partition(": ")[2]
            issues.add("/array", IssueCode.INVALID_VALUE, detail, given=spec.array)
            return None
    if spec.entries is None:
        return array
    count = len(spec.entries)
    if not 1 <= count <= ARRAY_TASKS:
        code = IssueCode.TOO_MANY if count else IssueCode.MISSING_FIELD
        detail = f"1 to {ARRAY_TASKS} entries are possible, {count} were given"
        issues.add("/entries", code, detail, limit=ARRAY_TASKS, given=count)
        return None
    if array is not None and array.indexes.size != count:
        detail = f"{count} entries do not go with {array.indexes.size} indexes"
        issues.add("/entries", IssueCode.INVALID_VALUE, detail, given=count)
    _check_entries(spec.entries, issues)
    return array or Array(indexes=up_to(count))


def _check_entries(entries: Sequence[str], issues: Issues) -> None:
    total = 0
    for index, entry in enumerate(entries):
        size = len(entry.encode())
        total += size
        if size > ENTRY_BYTES:
            detail = f"{size} bytes are more than the {ENTRY_BYTES} of an entry; use a file"
            at = "/entries" + step(index)
            issues.add(at, IssueCode.TOO_LONG, detail, limit=ENTRY_BYTES, given=size)
            return
        if "\0" in entry:
            detail = "an entry cannot hold the character NUL"
            issues.add("/entries" + step(index), IssueCode.INVALID_VALUE, detail)
            return
    if total > ENTRIES_BYTES:
        detail = f"together {total} bytes are more than {ENTRIES_BYTES}"
        issues.add("/entries", IssueCode.TOO_LONG, detail, limit=ENTRIES_BYTES, given=total)


def _check_shape(spec: JobSpecV2, issues: Issues) -> None:
    """Which of its two forms it is."""
    if (spec.task is None) == (not spec.tasks):
        detail = "a job has either a task, repeated for an array, or a list of tasks"
        issues.add("", IssueCode.MISSING_FIELD, detail)
    elif spec.task is not None and spec.array is None and spec.entries is None:
        detail = "which indexes? as 0-99, with %8 behind it for eight at a time; or give entries"
        issues.add("/array", IssueCode.MISSING_FIELD, detail)
    elif spec.tasks and (spec.array is not None or spec.entries is not None):
        detail = "a list of tasks has neither an array nor entries"
        issues.add("/tasks", IssueCode.INVALID_VALUE, detail)
    if len(spec.tasks) > LIST_TASKS:
        count = len(spec.tasks)
        detail = f"{count} are more than {LIST_TASKS}; submit several jobs, or an array"
        issues.add("/tasks", IssueCode.TOO_MANY, detail, limit=LIST_TASKS, given=count)


def _check_rest(spec: JobSpecV2, issues: Issues) -> None:
    if len(spec.name) > JOB_NAME_CHARS or not spec.name.isprintable():
        detail = f"a name has at most {JOB_NAME_CHARS} characters that can be shown"
        issues.add("/name", IssueCode.INVALID_VALUE, detail, limit=JOB_NAME_CHARS, given=spec.name)
    if spec.max_fails is not None and not 0 <= spec.max_fails <= ARRAY_TASKS:
        detail = f"0 to {ARRAY_TASKS} is possible"
        code = IssueCode.BELOW_MINIMUM if spec.max_fails < 0 else IssueCode.ABOVE_MAXIMUM
        issues.add("/max_fails", code, detail, limit=ARRAY_TASKS, given=spec.max_fails)
