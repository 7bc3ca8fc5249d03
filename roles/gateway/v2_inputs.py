"""What a task was given, exactly: a list of its parts, and the bytes of each.

The document of a task shows the beginnings of texts, for people. Whoever wants to run a task
somewhere else needs every byte, and the few options that no person asks for.
"""

from __future__ import annotations

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.cases import Span
from khala.model.errors import NotFound
from khala.model.ids import parse_task_id
from khala.model.spec import Part
from khala.model.task import Task
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from roles.gateway.artifacts import FILE_HEADERS, pass_on
from roles.gateway.cases import CaseFile, answer
from roles.gateway.operations import Answer, Operation, declare

_INPUTS = "/api/v2/tasks/<task_id:str>/inputs"
_BYTES = "application/octet-stream"


class InputRoutes(Struct, frozen=True, kw_only=True):
    """The handlers."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path=_INPUTS,
            tag="Tasks",
            answers={200: Answer(v2.TaskInputs)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def list_inputs(self, _: Request, task_id: str) -> HTTPResponse:
        """List all that a task was given, to run the same somewhere else."""
        return answer(view_inputs(await self.client.get(parse_task_id(task_id))))

    @declare(
        Operation(
            method="GET",
            path=f"{_INPUTS}/<part:str>",
            tag="Tasks",
            answers={200: Answer(content=_BYTES, headers=("ETag", "Content-Disposition"))},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def download_input(
        self, request: Request, task_id: str, part: str
    ) -> HTTPResponse | None:
        """Download one part of what a task was given."""
        task = await self.client.get(parse_task_id(task_id))
        parts = task.spec.parts
        if part not in parts:
            there = ", ".join(parts) or "none"
            raise NotFound(f"{part[:40]!r}: the parts of task {task.id} are: {there}", field="part")
        known = Part(part)
        ref = parts[known]
        headers = {
            **FILE_HEADERS,
            "Content-Disposition": f'attachment; filename="{task.id}_{known}"',
            "Content-Length": str(ref.size_bytes),
            "ETag": f'"{ref.sha256}"',
        }
        if request.method == "HEAD" or not ref.size_bytes:
            return HTTPResponse(None, headers=headers, content_type=_BYTES)
        file = CaseFile(
            span=Span(0, ref.size_bytes),
            inline=ref.inline,
            stored=self.client.open_part(task.id, known),
        )
        await pass_on(request, 200, headers, file.open())
        return None


def view_inputs(task: Task) -> v2.TaskInputs:
    spec = task.spec
    return v2.TaskInputs(
        files=[
            v2.InputFile(
                name=part,
                href=f"/api/v2/tasks/{task.id}/inputs/{part}",
                size=ref.size_bytes,
                sha256=ref.sha256,
            )
            for part, ref in spec.parts.items()
        ],
        cases=[
            v2.CaseInput(stdin=case.stdin_bytes, expected=case.expect_bytes) for case in spec.cases
        ],
        check_limits=spec.check_limits,
        entry=spec.member.entry if spec.member else None,
    )
