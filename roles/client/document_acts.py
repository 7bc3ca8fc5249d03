"""Documents in files, submitted as they are; and acts on all tasks of a filter."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path

import click
import msgspec

from khala.client import AsyncKhala
from khala.client.request import Json
from khala.model.decoding import refusal
from khala.model.errors import Rejected
from khala.model.limits import LIST_LIMIT_MAX, LIST_TASKS
from khala.model.outcome import Cancellation
from khala.model.task import TERMINAL, TaskState
from khala.protocol.v2 import Problem
from roles.client import exits
from roles.client.connection import Connection
from roles.client.selectors import parameters_of

OPEN = frozenset(TaskState) - TERMINAL
_PAGE = 500
#: Of the lines of a file that are no documents: somebody reads them.
_FAULTS_TOLD = 20


async def apply(khala: AsyncKhala, connection: Connection, file: str) -> int:
    """Print what became of each document: its id, and whether it is new."""
    for document in _documents(file):
        key = document.pop("key", None) or document.get("name")
        if not key or not isinstance(key, str):
            raise Rejected(
                f"-f {file}: a document needs a name, or a key, by which it is known when it is"
                " applied again"
            )
        applied = await khala.apply(document, f"apply {key}")
        if applied.new:
            connection.remember(applied.id)
        click.echo(f"{applied.id} {'created' if applied.new else 'unchanged'}")
    return 0


async def batch(khala: AsyncKhala, connection: Connection, file: str) -> int:
    """Print the id of each task that was accepted; 2 if one was not."""
    code = 0
    for part in _portions(file):
        answer = await khala.submit_batch([document for _, document in part])
        for (number, _), item in zip(part, answer.items, strict=True):
            if item.id is not None:
                connection.remember(item.id)
                click.echo(item.id)
            else:
                _refused(file, number, item.problem)
                code = exits.USAGE
    return code


async def plan_batch(khala: AsyncKhala, file: str) -> int:
    """Say which would be refused, and submit nothing; 2 if one would be."""
    code = accepted = 0
    for part in _portions(file):
        answer = await khala.plan_batch([document for _, document in part])
        accepted += answer.accepted
        for (number, _), item in zip(part, answer.items, strict=True):
            if item.plan is None:
                _refused(file, number, item.problem)
                code = exits.USAGE
    tasks = "1 task" if accepted == 1 else f"{accepted} tasks"
    click.echo(f"khala: {tasks} would be accepted; nothing was submitted", err=True)
    return code


def _refused(file: str, number: int, problem: Problem | None) -> None:
    why = problem.detail if problem else "it was refused"
    click.echo(f"khala: {file}:{number}: {why}", err=True)


def _portions(file: str) -> Iterator[list[tuple[int, Json]]]:
    """As many documents as one request takes, with their lines."""
    numbered = _lines(file)
    for start in range(0, len(numbered), LIST_TASKS):
        yield numbered[start : start + LIST_TASKS]


def _documents(file: str) -> list[Json]:
    """One, or a list of them; TOML by the name of the file, else JSON."""
    text = _text(file)
    try:
        if file.endswith(".toml"):
            return [tomllib.loads(text)]
        found = msgspec.json.decode(text, type=Json | list[Json])
    except tomllib.TOMLDecodeError as error:
        raise Rejected(f"-f: {file} holds no document: {error}", field="-f") from error
    except msgspec.MsgspecError as error:
        why = refusal(error, text)
        raise Rejected(
            f"-f: {file} holds no document, nor a list of them: {why}", field="-f"
        ) from error
    return found if isinstance(found, list) else [found]


def _lines(file: str) -> list[tuple[int, Json]]:
    """Raise `Rejected` if one is no document, when all that are none have been told."""
    found: list[tuple[int, Json]] = []
    faults = 0
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append((number, msgspec.json.decode(line, type=Json)))
        except msgspec.MsgspecError as error:
            faults += 1
            if faults <= _FAULTS_TOLD:
                why = refusal(error, line)
                click.echo(f"khala: {file}:{number}: no document in JSON: {why}", err=True)
    if faults:
        lines = "1 line" if faults == 1 else f"{faults} lines"
        raise Rejected(
            f"-f: {lines} of {file} {'is' if faults == 1 else 'are'} no document in JSON, and"
            " nothing was submitted; repair it, or leave it out",
            field="-f",
        )
    return found


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"-f: {file!r} cannot be read: {error}", field="-f") from error


async def cancel_matching(
    khala: AsyncKhala, matching: Json, said: Cancellation, *, sure: bool
) -> int:
    """Cancel all open tasks of a filter, after their number was confirmed."""
    count = await count_in(khala, matching, OPEN)
    if not count:
        click.echo("khala: no task that has not ended matches", err=True)
        return 0
    if not sure and not confirmed("Cancel", "cancelled", count):
        return exits.FAILED
    acted = await khala.cancel_matching(
        matching, count, reason=said.reason, by=said.by, grace_s=said.grace_s or 0
    )
    for failure in acted.failures:
        click.echo(f"khala: {failure.id}: {failure.detail}", err=True)
    click.echo(f"{acted.cancelled} cancelled")
    return exits.UNREACHABLE if acted.failed else 0


def confirmed(act: str, done: str, count: int) -> bool:
    """Whoever is asked wants it done to so many tasks."""
    tasks = "1 task" if count == 1 else f"{count} tasks"
    if not sys.stdin.isatty():
        raise Rejected(f"--filter: {tasks} would be {done}; say --yes", field="--filter")
    return click.confirm(f"{act} {tasks}?", err=True)


async def count_in(khala: AsyncKhala, matching: Json, states: Collection[TaskState]) -> int:
    """Tasks of a filter that are in one of these states."""
    given = set(matching.get("state") or TaskState)
    wanted = [state for state in TaskState if state in states and state in given]
    if not wanted:
        return 0
    filters = parameters_of({**matching, "state": wanted})
    count, cursor = 0, None
    while count <= LIST_LIMIT_MAX:
        page = await khala.list_page(filters=filters, limit=_PAGE, cursor=cursor)
        count += len(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    return count
