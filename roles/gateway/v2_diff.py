"""`GET /api/v2/tasks/{id}/cases/{n}/diff`: where an output leaves what was expected.

What is equal may be a megabyte long and what is not begin behind it, so the answer begins where the
texts do not agree any more, and is bounded from there. The work is bounded too: an alignment of two
texts of a stranger can take minutes, so it is left to whoever shows it.
"""

from __future__ import annotations

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.equal import equal_bytes
from khala.model.errors import NotFound
from khala.model.ids import parse_task_id
from khala.model.limits import CASE_OUTPUT_BYTES, DIFF_CONTEXT_LINES, DIFF_TEXT_BYTES
from khala.model.outcome import Stream
from khala.model.task import Task
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from roles.gateway.cases import CASES_PATH, CaseFiles, answer, parse_case
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.texts import decode
from roles.gateway.view_cases import view_cases


class DiffRoutes(Struct, frozen=True, kw_only=True):
    """The handler."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path=f"{CASES_PATH}/<number:str>/diff",
            tag="Cases",
            answers={200: Answer(v2.CaseDiff)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def diff_case(self, _: Request, task_id: str, number: str) -> HTTPResponse:
        """Read what was expected of a case beside what it wrote, from the first difference on."""
        task = await self.client.get(parse_task_id(task_id))
        known = parse_case(task, number)
        case = _comparable(task, known)
        files = CaseFiles(client=self.client, task=task, number=known)
        expected, output = files.expected(), files.output(Stream.EXECUTE_OUTPUT)
        # No more of an output is kept, so what differs is seen in as much of the other text.
        scanned = CASE_OUTPUT_BYTES + DIFF_TEXT_BYTES
        ours, theirs = await expected.head(scanned), await output.head(scanned)
        written = case.stdout.size if case.stdout else output.size_bytes
        at = equal_bytes(ours, theirs)
        same = at == len(ours) == len(theirs) and expected.size_bytes == written
        start = len(ours) if same else _start_of(ours, at)
        return answer(
            v2.CaseDiff(
                number=known,
                name=case.name,
                verdict=case.verdict,
                first_difference=case.first_difference,
                line=None if same else ours.count(b"\n", 0, start) + 1,
                expected=_excerpt(ours, start, expected.size_bytes),
                actual=_excerpt(theirs, start, written),
            )
        )


def _comparable(task: Task, number: int) -> v2.Case:
    """Raise `NotFound` where there are no two texts."""
    if task.spec.judged_by is None:
        raise NotFound(f"nothing is expected of the cases of task {task.id}", field="case")
    case = view_cases(task)[number - 1]
    if case.stdout is None:
        why = "was not run" if task.outcome is not None else "has no output yet"
        raise NotFound(f"case {number} of task {task.id} {why}", field="case")
    return case


def _start_of(text: bytes, at: int) -> int:
    """The line of `at` and some before it; less where that would be most of what is shown."""
    start = at
    for _ in range(DIFF_CONTEXT_LINES + 1):
        start = text.rfind(b"\n", 0, max(0, start))
        if start < 0:
            start = 0
            break
    else:
        start += 1
    return start if at - start <= DIFF_TEXT_BYTES // 2 else at


def _excerpt(text: bytes, start: int, size: int) -> v2.Excerpt:
    shown = text[start : start + DIFF_TEXT_BYTES]
    return v2.Excerpt(text=decode(shown), more=start + len(shown) < size, size=size)
