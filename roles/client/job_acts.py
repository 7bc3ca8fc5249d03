"""What the commands of jobs and blobs do, once their options are read."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from khala.client import AsyncKhala, NewJob, NewTask
from khala.model.decoding import refusal
from khala.model.errors import Rejected
from khala.model.job import JobState
from khala.model.outcome import Cancellation
from khala.model.task import TaskState
from khala.protocol.v2 import Job
from roles.client import exits, tables
from roles.client.acts import Sending, show_plan
from roles.client.connection import Connection
from roles.client.selectors import select_job, select_predecessors
from roles.client.tables import DOCUMENTS, Form

#: Between two drawings of a bar.
DRAW_S = 0.5
_CELLS = 20
_RETRIED = {"failed": ("failed", "error"), "cancelled": ("cancelled",)}


def job_of(
    task: NewTask, array: str | None, entries: list[str] | None, fails: int | None
) -> NewJob:
    task, held = replace(task, held=False), task.held
    return NewJob(
        task=task, array=array, entries=entries, max_fails=fails, name=task.name, held=held
    )


def read_entries(lines: str | None, json_file: str | None) -> list[str] | None:
    """The lines of a file, or the items of a JSON list: texts as they are, others as JSON."""
    if lines is not None and json_file is not None:
        raise Rejected("--each-line and --from-json: only one of them is possible")
    if lines is not None:
        return _read(lines, "--each-line").splitlines()
    if json_file is None:
        return None
    text = _read(json_file, "--from-json")
    try:
        items = msgspec.json.decode(text, type=list[object])
    except msgspec.MsgspecError as error:
        why = refusal(error, text)
        raise Rejected(f"--from-json: {json_file!r} holds no JSON list: {why}") from error
    return [item if isinstance(item, str) else msgspec.json.encode(item).decode() for item in items]


def _read(name: str, option: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except OSError as error:
        raise Rejected(f"{option}: {name!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Rejected(f"{option}: {name!r} is not a text in UTF-8") from error


async def plan(khala: AsyncKhala, connection: Connection, job: NewJob) -> int:
    """Print what a job would be, and submit nothing."""
    show_plan(await khala.plan_job(await _select(khala, connection, job)))
    return 0


async def _select(khala: AsyncKhala, connection: Connection, job: NewJob) -> NewJob:
    """The same, with ids in the place of words such as `last`."""
    if job.task is None:
        return job
    return replace(job, task=await select_predecessors(khala, connection, job.task))


async def submit(khala: AsyncKhala, connection: Connection, job: NewJob, sending: Sending) -> int:
    job = await _select(khala, connection, job)
    job_id = await khala.submit_job(job, key=sending.key)
    connection.remember(job_id)
    click.echo(job_id)
    if sending.draw:
        return await _follow(khala, job_id)
    return _code(await khala.wait_job(job_id)) if sending.wait else 0


async def progress(khala: AsyncKhala, connection: Connection, word: str) -> int:
    return await _follow(khala, await select_job(khala, connection, word))


async def _follow(khala: AsyncKhala, job_id: str) -> int:
    """A bar on stderr that is drawn over itself on a terminal, and once per change elsewhere."""
    screen = sys.stderr.isatty()
    began, first, shown = time.monotonic(), -1, ""
    while True:
        job = await khala.get_job(job_id)
        ended = _ended(job)
        first = ended if first < 0 else first
        rate = (ended - first) / max(time.monotonic() - began, 0.001)
        line = bar(job, rate)
        if screen:
            click.echo(f"\r\x1b[K{line}", err=True, nl=job.done)
        elif line != shown:
            click.echo(line, err=True)
        shown = line
        if job.done:
            return _code(job)
        await asyncio.sleep(DRAW_S)


def bar(job: Job, per_second: float) -> str:
    """`[#############·······] 641/1000  running 50  failed 3  ETA 4m`."""
    ended = _ended(job)
    full = _CELLS * ended // job.size
    counts = job.counts
    parts = [f"[{'#' * full}{'·' * (_CELLS - full)}] {ended}/{job.size}"]
    named = (
        ("running", counts.running),
        ("failed", counts.failed + counts.error),
        ("cancelled", counts.cancelled),
    )
    parts += [f"{name} {count}" for name, count in named if count]
    if not job.done and per_second > 0:
        left_s = round((job.size - ended) / per_second)
        parts.append(f"ETA {left_s // 60}m{left_s % 60:02}s")
    return "  ".join(parts)


def _ended(job: Job) -> int:
    counts = job.counts
    return counts.succeeded + counts.failed + counts.cancelled + counts.error


def _code(job: Job) -> int:
    return 0 if job.state is JobState.SUCCEEDED else exits.FAILED


async def list_jobs(khala: AsyncKhala, form: Form, limit: int) -> int:
    _show((await khala.list_jobs(limit=limit)).items, form)
    return 0


async def get(khala: AsyncKhala, connection: Connection, word: str, form: Form) -> int:
    _show([await khala.get_job(await select_job(khala, connection, word))], form)
    return 0


async def list_tasks(
    khala: AsyncKhala,
    connection: Connection,
    word: str,
    form: Form,
    states: tuple[TaskState, ...],
) -> int:
    job = await select_job(khala, connection, word)
    rows = [row async for row in khala.job_tasks(job, states=states)]
    tables.show_rows(rows, form, tables.columns_of(None, form))
    return 0


async def cancel(khala: AsyncKhala, connection: Connection, word: str, said: Cancellation) -> int:
    job_id = await select_job(khala, connection, word)
    job = await khala.cancel_job(job_id, reason=said.reason, by=said.by, grace_s=said.grace_s or 0)
    click.echo(f"{job.id} cancelled")
    return 0


async def hold(khala: AsyncKhala, connection: Connection, word: str, *, held: bool) -> int:
    job = await khala.hold_job(await select_job(khala, connection, word), held=held)
    click.echo(f"{job.id} {'held' if job.held else 'released'}")
    return 0


async def retry(khala: AsyncKhala, connection: Connection, word: str, only: tuple[str, ...]) -> int:
    """Print the id of the job that they run again as."""
    job = await select_job(khala, connection, word)
    # What a progress bar counts as failed.
    states = tuple(dict.fromkeys(each for state in only for each in _RETRIED[state]))
    made = await khala.retry_job(job, only=states)
    connection.remember(made.id)
    click.echo(made.id)
    tasks = "1 task" if made.size == 1 else f"{made.size} tasks"
    said = f"{tasks} queued again, as job {made.id}"
    if not made.new:
        said = (
            f"nothing was queued: {tasks} had been queued again before, as job {made.id}; what"
            f" failed in that one: job retry {made.id}"
        )
    click.echo(f"khala: {said}", err=True)
    return 0


def _show(jobs: list[Job], form: Form) -> None:
    if form in DOCUMENTS:
        tables.show_structs(jobs, form)
    elif form is Form.NAME:
        for job in jobs:
            click.echo(job.id)
    else:
        head = ["ID", "NAME", "STATE", "ENDED", "FAILED", "USER", "AGE"]
        rows = [
            [
                job.id,
                tables.plain(job.name) or "-",
                "held" if job.held and not job.done else job.state,
                f"{_ended(job)}/{job.size}",
                str(job.counts.failed + job.counts.error),
                str(job.user),
                tables.age(job.created_at),
            ]
            for job in jobs
        ]
        tables.show_table(head, rows)


async def put_blobs(khala: AsyncKhala, files: tuple[str, ...]) -> int:
    for name in files:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise Rejected(f"{name!r} cannot be read: {error.strerror}") from error
        click.echo(f"{await khala.put_blob(data)}  {name}")
    return 0


async def get_blob(khala: AsyncKhala, name: str) -> int:
    """To stdout; bytes that are not the blob's are an error, after they were written."""
    digest = hashlib.sha256()
    async with khala.open_blob(name) as pieces:
        async for piece in pieces:
            digest.update(piece)
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    if digest.hexdigest() != name.removeprefix("sha256:"):
        raise Rejected(f"what arrived is not blob {name}")
    return 0
