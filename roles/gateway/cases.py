"""The cases of a task, one by one: what went in, what was expected, what came out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.cases import Span, expected_span, stdin_span
from khala.model.errors import NotFound
from khala.model.ids import parse_task_id
from khala.model.limits import VIEW_TEXT_BYTES
from khala.model.outcome import Stream
from khala.model.spec import Part
from khala.model.task import Task
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from roles.gateway.artifacts import FILE_HEADERS, pass_on
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.texts import decode
from roles.gateway.view_cases import view_cases, view_check, view_score, view_verdict

_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_BYTES = "application/octet-stream"
CASES_PATH = "/api/v2/tasks/<task_id:str>/cases"
_STREAMS = {"stdout": Stream.EXECUTE_OUTPUT, "stderr": Stream.EXECUTE_ERROR}


class CaseRoutes(Struct, frozen=True, kw_only=True):
    """The handlers."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path=CASES_PATH,
            tag="Cases",
            answers={200: Answer(v2.Cases)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def list_cases(self, _: Request, task_id: str) -> HTTPResponse:
        """List the cases of a task, with their verdicts."""
        task = await self.client.get(parse_task_id(task_id))
        return answer(
            v2.Cases(
                items=view_cases(task),
                check=view_check(task.spec.judged_by),
                verdict=view_verdict(task),
                score=view_score(task.outcome.score if task.outcome else None),
            )
        )

    @declare(
        Operation(
            method="GET",
            path=f"{CASES_PATH}/<number:str>",
            tag="Cases",
            answers={200: Answer(v2.CaseDetail)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_case(self, _: Request, task_id: str, number: str) -> HTTPResponse:
        """Read one case, with the beginning of what went in, was expected and came out."""
        task = await self.client.get(parse_task_id(task_id))
        known = parse_case(task, number)
        files = CaseFiles(client=self.client, task=task, number=known)
        expects = task.spec.judged_by is not None
        return answer(
            v2.CaseDetail(
                case=view_cases(task)[known - 1],
                stdin=await _text(files.stdin()),
                expected=await _text(files.expected()) if expects else None,
                stdout=await _text(files.output(Stream.EXECUTE_OUTPUT)),
                stderr=await _text(files.output(Stream.EXECUTE_ERROR)),
            )
        )

    @declare(
        Operation(
            method="GET",
            path=f"{CASES_PATH}/<number:str>/<stream:str>",
            tag="Cases",
            answers={200: Answer(content=_BYTES, headers=("Content-Disposition",))},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def download_case_output(
        self, request: Request, task_id: str, number: str, stream: str
    ) -> HTTPResponse | None:
        """Download what was kept of an output of a case."""
        task = await self.client.get(parse_task_id(task_id))
        known = parse_case(task, number)
        if stream not in _STREAMS:
            raise NotFound(f"{stream[:40]!r}: there are {', '.join(_STREAMS)}", field="stream")
        if task.outcome is None or not task.outcome.cases:
            raise NotFound(f"task {task.id} has no outputs; they are there when it has ended")
        file = CaseFiles(client=self.client, task=task, number=known).output(_STREAMS[stream])
        name = f"{task.id}_case{known}_{stream}"
        headers = {
            **FILE_HEADERS,
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Length": str(file.size_bytes),
        }
        if request.method == "HEAD" or not file.size_bytes:
            return HTTPResponse(None, headers=headers, content_type=_BYTES)
        await pass_on(request, 200, headers, file.open())
        return None


def parse_case(task: Task, text: str) -> int:
    """The number of a case of this task. Raises NotFound."""
    count = len(task.spec.cases)
    if not count:
        raise NotFound(f"task {task.id} has no cases", field="case")
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= count):
        raise NotFound(f"{text[:40]!r}: the task has cases 1 to {count}", field="case")
    return int(text)


class CaseFile(Struct, frozen=True, kw_only=True):
    """Some bytes of a case: a span of what travelled with the task, or of what is stored."""

    span: Span
    inline: bytes | None
    #: Opens what is not inline.
    stored: AbstractAsyncContextManager[AsyncIterator[bytes]]

    @property
    def size_bytes(self) -> int:
        return self.span.size_bytes

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        if self.inline is not None:
            end = self.span.first + self.span.size_bytes
            yield _once(self.inline[self.span.first : end])
            return
        async with self.stored as pieces:
            yield pieces

    async def head(self, size_bytes: int) -> bytes:
        """Its beginning."""
        found = bytearray()
        if self.size_bytes:
            async with self.open() as pieces:
                async for piece in pieces:
                    found += piece
                    if len(found) >= size_bytes:
                        break
        return bytes(found[:size_bytes])


class CaseFiles(Struct, frozen=True, kw_only=True):
    """Those of one case."""

    client: JudicatorClient
    task: Task
    number: int

    def stdin(self) -> CaseFile:
        return self._given(stdin_span(self.task.spec.cases, self.number))

    def expected(self) -> CaseFile:
        return self._given(expected_span(self.task.spec.cases, self.number))

    def _given(self, span: Span) -> CaseFile:
        ref = self.task.spec.parts.get(Part.CASES)
        stored = self.client.open_part(self.task.id, Part.CASES, span)
        return CaseFile(span=span, inline=ref.inline if ref else b"", stored=stored)

    def output(self, stream: Stream) -> CaseFile:
        """Empty until there is one."""
        outcome = self.task.outcome
        span = Span(0, 0)
        if outcome is not None and outcome.cases:
            span = outcome.case_span(self.number, stream)
        ref = outcome.case_outputs if outcome else None
        stored = self.client.open_stream(self.task.id, stream, case=self.number)
        return CaseFile(span=span, inline=ref.inline if ref else b"", stored=stored)


async def _text(file: CaseFile) -> v2.Text:
    return v2.Text(size=file.size_bytes, text=decode(await file.head(VIEW_TEXT_BYTES)))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def answer(body: Struct) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), headers=_HEADERS, content_type="application/json")
