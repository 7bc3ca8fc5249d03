"""`GET /api/v2/jobs/ID/logs.zip`: what the tasks of a job wrote, as one archive.

It is written while it is read, and compressed, so no length is promised: a download that breaks off
is one whose connection ends without an end. A piece of one output is all that is held of it. A job
may have left more than anybody wants in one file; the archive has a bound, and where it is reached
a note in it says how to have the rest.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated

import structlog
from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.cases import Span
from khala.model.errors import KhalaError, NotFound
from khala.model.ids import JobId, TaskId
from khala.model.job import place_of
from khala.model.limits import ARRAY_TASKS, JOB_LOGS_BYTES, JOB_LOGS_TASKS, KIB, MIB
from khala.model.outcome import Stream
from khala.model.task import TERMINAL, Task
from khala.net.client import JudicatorClient
from khala.net.httpd import hang_up
from khala.protocol.jobs import ListMembers, MemberRows
from khala.protocol.v2 import ProblemCode
from roles.gateway.artifacts import FILE_HEADERS
from roles.gateway.bodies import off_loop
from roles.gateway.cases import CaseFile, CaseFiles
from roles.gateway.jobs import JOB, JOBS
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.ownership import parse_job_id
from roles.gateway.queries import read_query

log = structlog.get_logger()

_ZIP = "application/zip"
#: Sent together.
_PIECE_BYTES = 64 * KIB
_PAGE_TASKS = 500
_NOTE = "LEFT-OUT.txt"
_NAMES = {
    Stream.COMPILE_OUTPUT: "compile/stdout",
    Stream.COMPILE_ERROR: "compile/stderr",
    Stream.EXECUTE_OUTPUT: "stdout",
    Stream.EXECUTE_ERROR: "stderr",
}


class LogsQuery(Struct, frozen=True, kw_only=True):
    #: Begin behind the task at this position, as the note in an archive says that lacks some.
    after: Annotated[int, Meta(ge=0, le=ARRAY_TASKS)] = 0


class JobLogs(Struct, frozen=True, kw_only=True):
    """The handler, and what it reads from."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path=f"{JOB}/logs.zip",
            tag="Jobs",
            query=LogsQuery,
            answers={200: Answer(content=_ZIP, headers=("Content-Disposition",))},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def download_job_logs(self, request: Request, job_id: str) -> HTTPResponse | None:
        """Download what those tasks of a job wrote that have ended, as one archive."""
        job = parse_job_id(job_id, "id")
        archive = JobArchive(self.client, job)
        # A failure up to here has a status of its own.
        first = await archive.load_page(read_query(request, LogsQuery).after)
        headers = {
            **FILE_HEADERS,
            "Content-Disposition": f'attachment; filename="{job}_logs.zip"',
        }
        if request.method == "HEAD":
            return HTTPResponse(None, headers=headers, content_type=_ZIP)
        response = await request.respond(headers=headers, content_type=_ZIP)
        try:
            async with aclosing(archive.write(first)) as pieces:
                async for piece in pieces:
                    await response.send(piece)
            await response.eof()
        except KhalaError as error:
            log.warning("job_logs.broke_off", job=job, why=error.message)
            hang_up(request)  # an end would say that this was all
        return None


class _LogFile(Struct, frozen=True, kw_only=True):
    name: str
    file: CaseFile


@dataclass(slots=True)
class JobArchive:
    """One download."""

    client: JudicatorClient
    job: JobId
    _tasks: int = 0
    _bytes: int = 0
    _notes: list[str] = field(default_factory=list)

    async def load_page(self, after: int) -> MemberRows:
        query = ListMembers(states=tuple(sorted(TERMINAL)), after=after, limit=_PAGE_TASKS)
        return await self.client.list_members(self.job, query)

    async def write(self, page: MemberRows) -> AsyncGenerator[bytes, None]:
        sink = _Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            async with aclosing(self._files(page)) as files:
                async for file in files:
                    async with aclosing(_add(archive, file)) as steps:
                        async for _ in steps:
                            if sink.size_bytes >= _PIECE_BYTES:
                                yield sink.take()
            if self._notes:
                archive.writestr(_NOTE, "\n".join([*self._notes, ""]))
        yield sink.take()

    async def _files(self, page: MemberRows) -> AsyncGenerator[_LogFile, None]:
        """Task by task, until all have been looked at or the archive is full."""
        while True:
            for brief in page.tasks:
                files = await self._files_of(brief.id) if brief.attempt else []
                if not files:
                    continue
                size = sum(each.file.size_bytes for each in files)
                _, position = place_of(brief.id)
                if size > JOB_LOGS_BYTES:
                    self._notes.append(
                        f"Task {brief.id} is left out: it wrote {size} bytes, more than an archive"
                        f" has. GET /api/v2/tasks/{brief.id}/logs reads them."
                    )
                    continue
                if self._bytes + size > JOB_LOGS_BYTES or self._tasks == JOB_LOGS_TASKS:
                    self._notes.append(self._rest(position - 1))
                    return
                self._bytes += size
                self._tasks += 1
                for each in files:
                    yield each
            if page.next_after is None:
                return
            page = await self.load_page(page.next_after)

    def _rest(self, after: int) -> str:
        return (
            f"The logs of {self._tasks} tasks are here. There are more: an archive has"
            f" {JOB_LOGS_BYTES // MIB} MiB and {JOB_LOGS_TASKS} tasks at the most. The next one"
            f" begins with GET {JOBS}/{self.job}/logs.zip?after={after}"
        )

    async def _files_of(self, task_id: TaskId) -> list[_LogFile]:
        """Outputs that have any bytes; none of a task that was removed meanwhile."""
        try:
            task = await self.client.get(task_id)
        except NotFound:
            return []
        folder = str(task.spec.member.index) if task.spec.member else task.id
        return [
            _LogFile(name=f"{folder}/{name}", file=file)
            for name, file in _outputs_of(self.client, task)
            if file.size_bytes
        ]


def _outputs_of(client: JudicatorClient, task: Task) -> Iterator[tuple[str, CaseFile]]:
    if task.outcome is None:
        return
    for stream, ref in task.outcome.streams.items():
        stored = client.open_stream(task.id, stream)
        span = Span(0, ref.size_bytes)
        yield _NAMES[stream], CaseFile(span=span, inline=ref.inline, stored=stored)
    for number, _ in enumerate(task.outcome.cases, 1):
        files = CaseFiles(client=client, task=task, number=number)
        for stream in (Stream.EXECUTE_OUTPUT, Stream.EXECUTE_ERROR):
            yield f"cases/{number}/{_NAMES[stream]}", files.output(stream)


async def _add(archive: zipfile.ZipFile, file: _LogFile) -> AsyncGenerator[None, None]:
    """Piece by piece."""
    info = zipfile.ZipInfo(file.name, time.gmtime()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    with archive.open(info, "w") as entry:
        async with file.file.open() as pieces:
            async for piece in pieces:
                await off_loop(len(piece) > _PIECE_BYTES, entry.write, piece)
                yield


class _Sink(io.RawIOBase):
    """What is written and not sent yet. It cannot be sought in, so sizes and checksums come behind
    the contents."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        self.size_bytes += len(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self.size_bytes = 0
        return taken
