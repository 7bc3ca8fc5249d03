"""What the users' commands do, once their options are read."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from khala.client import AsyncKhala, LogQuery, NewTask, Row, Task
from khala.model.cases import Verdict
from khala.model.errors import AlreadyDone, KhalaError, Rejected
from khala.model.outcome import Cancellation
from khala.model.spec import Stage
from khala.model.task import TaskState
from khala.protocol.v2 import Stages
from roles.client import exits, tables, tries, verdicts
from roles.client.connection import Connection, login_name
from roles.client.describing import described, sentence_of, summary_of, why_waiting
from roles.client.moving import Moving
from roles.client.output import Output, show_log
from roles.client.saving import save
from roles.client.selectors import select, select_one, select_predecessors
from roles.client.tables import Form
from roles.client.watching import Watch, watch_list

_SIGNAL_BASE = 128


def act(
    connection: Connection,
    work: Callable[[AsyncKhala], Awaitable[int]],
    *,
    patience_s: float = 10.0,
) -> int:
    """Run `work` against the gateway; an error becomes a line on stderr and an exit code."""

    async def connected() -> int:
        async with AsyncKhala(
            connection.url, token=connection.token, patience_s=patience_s
        ) as khala:
            khala.on_progress = Moving("sent")
            return await work(khala)

    try:
        return asyncio.run(connected())
    except KhalaError as error:
        click.echo(f"khala: {error.message}", err=True)
        return exits.code_of(error)


# ---- submit ---------------------------------------------------------------------------------


class Sending(Struct, frozen=True, kw_only=True):
    """How something is submitted."""

    #: Submitted again under it, it is the same; None: once.
    key: str | None = None
    #: Return when it has ended.
    wait: bool = False
    #: Draw how far a job is meanwhile.
    draw: bool = False


async def plan(khala: AsyncKhala, connection: Connection, task: NewTask) -> int:
    """Print what a task would be, and submit nothing."""
    show_plan(await khala.plan(await select_predecessors(khala, connection, task)))
    return 0


def show_plan(plan: msgspec.Struct) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(plan), indent=2).decode())
    click.echo("khala: it would be accepted; nothing was submitted", err=True)


async def run(
    khala: AsyncKhala, connection: Connection, task: NewTask, *, key: str | None = None
) -> int:
    """Submit, show what it writes while it writes it, and end as the program did. Ctrl-C cancels
    the task."""
    task_id = await khala.submit(await select_predecessors(khala, connection, task), key=key)
    connection.remember(task_id)
    # Of cases, a table of their verdicts is shown.
    waiting = asyncio.ensure_future(_follow(khala, task_id, show=not task.cases))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, waiting.cancel)
    try:
        ended = await waiting
    except asyncio.CancelledError:
        try:
            await khala.cancel(task_id, reason="interrupted", by=login_name())
        except AlreadyDone:
            ended = await khala.get(task_id)
        else:
            click.echo(f"khala: task {task_id} is cancelled", err=True)
            return exits.INTERRUPTED
    if ended.cases:
        verdicts.show_cases(ended)
    elif ended.stages.execute.result is None:  # what the compiler wrote says why
        await show_log(khala, task_id, LogQuery(stage=Stage.COMPILE), Output())
    if ended.state is not TaskState.SUCCEEDED:
        click.echo(f"khala: {sentence_of(ended)}", err=True)
    if ended.verdict is None:
        return program_code(ended)
    for line in summary_of(ended):
        click.echo(line, err=True)
    return 0 if ended.verdict is Verdict.AC else exits.FAILED


async def _follow(khala: AsyncKhala, task: str, *, show: bool) -> Task:
    if show:
        await show_log(khala, task, LogQuery(stage=Stage.EXECUTE, follow=True), Output())
    return await khala.wait(task)


async def submit(khala: AsyncKhala, connection: Connection, task: NewTask, sending: Sending) -> int:
    """Print the id as soon as it is accepted."""
    task = await select_predecessors(khala, connection, task)
    task_id = await khala.submit(task, key=sending.key)
    connection.remember(task_id)
    click.echo(task_id)
    return await _wait_all(khala, [task_id], None) if sending.wait else 0


# ---- look -----------------------------------------------------------------------------------


class Listed(Struct, frozen=True, kw_only=True):
    """Which tasks are listed, and how."""

    form: Form
    columns: list[str]
    filters: dict[str, str]
    limit: int


async def list_tasks(khala: AsyncKhala, listed: Listed) -> int:
    rows, more = await _rows_of(khala, listed)
    tables.show_rows(rows, listed.form, listed.columns)
    if more and listed.form in (Form.TABLE, Form.WIDE):
        click.echo(f"khala: the first {len(rows)}; --limit shows more", err=True)
    return 0


async def watch_tasks(khala: AsyncKhala, listed: Listed, looks: int | None) -> int:
    if listed.form in (Form.JSON, Form.YAML):
        raise Rejected(
            f"--watch: -o {listed.form} is one document, which never ends; take -o jsonl",
            field="--watch",
        )

    async def load() -> list[Row]:
        rows, _ = await _rows_of(khala, listed)
        return rows

    def show(rows: list[Row], head: bool) -> None:
        tables.show_rows(rows, listed.form, listed.columns, head=head)

    screen = sys.stdout.isatty() and listed.form in (Form.TABLE, Form.WIDE)
    return await watch_list(khala, Watch(load=load, show=show, screen=screen, looks=looks))


async def _rows_of(khala: AsyncKhala, listed: Listed) -> tuple[list[Row], bool]:
    """As many as are wanted, and whether there are more."""
    rows: list[Row] = []
    cursor = None
    while len(rows) < listed.limit:
        page = await khala.list_page(
            filters=listed.filters, limit=min(500, listed.limit - len(rows)), cursor=cursor
        )
        rows += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return rows, cursor is not None


async def get(khala: AsyncKhala, connection: Connection, words: tuple[str, ...], form: Form) -> int:
    tasks = [await khala.get(task) for task in await select(khala, connection, words)]
    if form in tables.DOCUMENTS:
        tables.show_structs(tasks, form)
    elif form is Form.NAME:
        for task in tasks:
            click.echo(task.id)
    else:
        click.echo("\n\n".join("\n".join(described(task)) for task in tasks))
    return 0


async def logs(
    khala: AsyncKhala, connection: Connection, word: str, query: LogQuery, output: Output
) -> int:
    """What a task has written so far. Of one that has a result, without a stage: what the program
    wrote, or the compiler if it failed."""
    task = await khala.get(await select_one(khala, connection, word))
    if query.stage is None and query.case is None and task.done and query.attempt is None:
        query = replace(query, stage=stage_shown(task.stages))
    await show_log(khala, task.id, query, output)
    return 0


def stage_shown(stages: Stages) -> Stage | None:
    """None, all of them: what was cancelled has no result, and what it wrote is of any."""
    if stages.execute.result is not None:
        return Stage.EXECUTE
    return None if stages.compile.result is None else Stage.COMPILE


async def explain(khala: AsyncKhala, connection: Connection, word: str) -> int:
    task = await khala.get(await select_one(khala, connection, word))
    click.echo(sentence_of(task))
    await tries.show(khala, task)
    if task.state is TaskState.QUEUED:
        for line in why_waiting(await khala.explain(task.id)):
            click.echo(line)
    elif task.done and (removal := (await khala.explain(task.id)).removal):
        click.echo(f"  {tables.plain(removal)}")
    return 0


async def diff(khala: AsyncKhala, connection: Connection, word: str, case: int | None) -> int:
    """What was expected of a task, or of one of its cases, beside what it wrote."""
    task = await khala.get(await select_one(khala, connection, word))
    return await verdicts.show_diff(khala, task, case)


# ---- act ------------------------------------------------------------------------------------


async def wait(
    khala: AsyncKhala, connection: Connection, words: tuple[str, ...], timeout_s: float | None
) -> int:
    return await _wait_all(khala, await select(khala, connection, words), timeout_s)


async def cancel(
    khala: AsyncKhala, connection: Connection, words: tuple[str, ...], said: Cancellation
) -> int:
    async def cancel_one(task: str) -> str:
        await khala.cancel(task, reason=said.reason, by=said.by, grace_s=said.grace_s or 0)
        return f"{task} cancelled"

    return await each_of(await select(khala, connection, words), cancel_one)


async def again(
    khala: AsyncKhala, connection: Connection, words: tuple[str, ...], *, ended_only: bool
) -> int:
    """Print the id of each new task."""

    async def submit_again(task: str) -> str:
        made = await (khala.retry(task) if ended_only else khala.rerun(task))
        connection.remember(made)
        return made

    return await each_of(await select(khala, connection, words), submit_again)


async def forget(khala: AsyncKhala, connection: Connection, words: tuple[str, ...]) -> int:
    async def forget_one(task: str) -> str:
        await khala.forget(task)
        return f"{task} removed"

    return await each_of(await select(khala, connection, words), forget_one)


async def each_of(tasks: Sequence[str], work: Callable[[str], Awaitable[str]]) -> int:
    """Print what `work` says of each. All are tried; the code is that of the first that failed."""
    code = 0
    for task in tasks:
        try:
            click.echo(await work(task))
        except KhalaError as error:
            click.echo(f"khala: {task}: {error.message}", err=True)
            code = code or exits.code_of(error)
    return code


async def fetch(khala: AsyncKhala, connection: Connection, word: str, into: Path) -> int:
    """Save what a task left below `into`; a file that exists is not replaced."""
    task = await select_one(khala, connection, word)
    artifacts = await khala.list_artifacts(task)
    if not artifacts:
        click.echo(f"khala: task {task} left no artifacts", err=True)
    root = into.resolve()
    for artifact in artifacts:
        path = (into / artifact.name).resolve()
        if not path.is_relative_to(root):
            raise Rejected(f"{artifact.name!r} would be saved outside {into}; it is not")
        await save(khala.open_artifact(artifact), path, "another folder with -d")
        click.echo(f"{tables.plain(str(path))}  {tables.size(artifact.size)}")
    return 0


async def _wait_all(khala: AsyncKhala, ids: Sequence[str], timeout_s: float | None) -> int:
    loop = asyncio.get_running_loop()
    deadline = None if timeout_s is None else loop.time() + timeout_s
    code = 0
    for task_id in ids:
        left_s = None if deadline is None else max(0.0, deadline - loop.time())
        task = await khala.wait(task_id, left_s)
        if not task.done:
            click.echo(f"khala: {task_id} is {task.state} after {timeout_s:g} s", err=True)
            return exits.TIMED_OUT
        if task.state is not TaskState.SUCCEEDED:
            click.echo(f"khala: {sentence_of(task)}", err=True)
            code = exits.FAILED
        elif task.verdict not in (None, Verdict.AC):
            click.echo(f"khala: {task.id} {verdicts.sentence_of(task)}", err=True)
            code = exits.FAILED
    return code


# ---- words ----------------------------------------------------------------------------------


def program_code(task: Task) -> int:
    """The exit code of the last stage's program, as a shell would give it."""
    stage = task.last_stage
    result = stage.result if stage else None
    if task.state is TaskState.SUCCEEDED:
        return 0
    if result is None:
        return exits.FAILED
    if result.signal is not None:
        return _SIGNAL_BASE + result.signal
    return result.exit_code or exits.FAILED
