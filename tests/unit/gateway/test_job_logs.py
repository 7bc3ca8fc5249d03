"""The logs of a job as one archive: what is in it, and what it says of what is not."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from msgspec.structs import replace

from khala.model.cases import Judgement, Verdict
from khala.model.errors import NotFound, Unavailable
from khala.model.ids import AttemptNo, TaskId
from khala.model.job import member_id, mint_job_id
from khala.model.outcome import CaseOutcome, Outcome, Reason, StageOutcome, Stream, StreamRef
from khala.model.spec import Member
from khala.model.task import Dispatch, Task, brief_of
from khala.net.client import JudicatorClient
from khala.protocol.jobs import ListMembers, MemberRows
from roles.gateway import job_logs
from roles.gateway.job_logs import JobArchive
from tests.unit.core.desk import DONE
from tests.unit.gateway.test_pending import a_task

JOB = mint_job_id()
LARGE = bytes(range(256)) * 2000


class Judicator:
    """Knows the tasks of one job; an output that is not inline is `LARGE`."""

    def __init__(self, outcomes: list[Outcome | None]) -> None:
        self.tasks: dict[TaskId, Task] = {}
        self.asked: list[TaskId] = []
        self.broken = False
        for position, outcome in enumerate(outcomes, 1):
            task = a_task()
            member = Member(job=JOB, index=position * 10)
            self.tasks[member_id(JOB, position)] = replace(
                task,
                id=member_id(JOB, position),
                spec=replace(task.spec, member=member),
                dispatch=Dispatch.DONE,
                attempt=AttemptNo(0 if outcome is None else 1),
                outcome=outcome or DONE,
            )

    async def list_members(self, _: str, query: ListMembers) -> MemberRows:
        rows = [brief_of(task) for task in self.tasks.values()][query.after :]
        last = query.after + 2
        return MemberRows(tasks=rows[:2], next_after=last if len(rows) > 2 else None)

    async def get(self, task: TaskId) -> Task:
        self.asked.append(task)
        if self.tasks[task].outcome is DONE:
            raise NotFound("removed meanwhile")
        return self.tasks[task]

    @asynccontextmanager
    async def open_stream(
        self, task: TaskId, stream: Stream, case: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 100_000):
            if self.broken and start:
                raise Unavailable("a chunk is missing")
            yield LARGE[start : start + 100_000]


def wrote(**texts: bytes | None) -> Outcome:
    streams = {
        Stream(name): StreamRef(size_bytes=len(text or LARGE) if text != b"" else 0, inline=text)
        for name, text in texts.items()
    }
    return replace(DONE, streams=streams)


async def download(judicator: Judicator, after: int = 0) -> tuple[list[bytes], zipfile.ZipFile]:
    archive = JobArchive(cast(JudicatorClient, judicator), JOB)
    first = await archive.load_page(after)
    pieces = [piece async for piece in archive.write(first)]
    return pieces, zipfile.ZipFile(io.BytesIO(b"".join(pieces)))


async def test_every_output_has_its_place() -> None:
    judged = CaseOutcome(
        execute=StageOutcome(reason=Reason.OK, stdout_bytes=3, stderr_bytes=2),
        judgement=Judgement(verdict=Verdict.AC),
    )
    cases = replace(
        wrote(compile_output=b"made"),
        cases=(judged, replace(judged, execute=None), judged),
        case_outputs=StreamRef(size_bytes=10, inline=b"oneE1twoE2"),
    )
    judicator = Judicator(
        [
            wrote(execute_output=b"hello\n", execute_error=b""),
            None,
            wrote(compile_error=b"no such file\n"),
            wrote(execute_output=None),
            DONE,
            cases,
        ]
    )
    pieces, archive = await download(judicator)
    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist()} == {
        "10/stdout": b"hello\n",
        "30/compile/stderr": b"no such file\n",
        "40/stdout": LARGE,
        "60/compile/stdout": b"made",
        "60/cases/1/stdout": b"one",
        "60/cases/1/stderr": b"E1",
        "60/cases/3/stdout": b"two",
        "60/cases/3/stderr": b"E2",
    }
    # One that never began has nothing, and is not asked for.
    assert member_id(JOB, 2) not in judicator.asked
    assert max(map(len, pieces)) < 2 * 64 * 1024


@pytest.mark.parametrize(("name", "most"), [("JOB_LOGS_BYTES", 11), ("JOB_LOGS_TASKS", 2)])
async def test_a_full_archive_says_where_the_next_one_begins(
    monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(job_logs, name, most)
    judicator = Judicator([wrote(execute_output=b"five.") for _ in range(5)])
    _, archive = await download(judicator)
    assert archive.namelist() == ["10/stdout", "20/stdout", "LEFT-OUT.txt"]
    note = archive.read("LEFT-OUT.txt").decode()
    assert "The logs of 2 tasks are here" in note
    assert note.endswith(f"GET /api/v2/jobs/{JOB}/logs.zip?after=2\n")
    _, archive = await download(judicator, after=2)
    assert archive.namelist() == ["30/stdout", "40/stdout", "LEFT-OUT.txt"]
    _, archive = await download(judicator, after=4)
    assert archive.namelist() == ["50/stdout"]


async def test_a_task_that_no_archive_can_hold_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_logs, "JOB_LOGS_BYTES", 11)
    outcomes = [wrote(execute_output=text) for text in (b"five.", b"much too long", b"5.")]
    _, archive = await download(Judicator([*outcomes]))
    assert archive.namelist() == ["10/stdout", "30/stdout", "LEFT-OUT.txt"]
    assert f"Task {member_id(JOB, 2)} is left out" in archive.read("LEFT-OUT.txt").decode()


async def test_what_breaks_off_does_not_end_as_if_that_were_all() -> None:
    judicator = Judicator([wrote(execute_output=None)])
    judicator.broken = True
    with pytest.raises(Unavailable):
        await download(judicator)


async def test_a_reader_that_leaves_closes_what_is_open() -> None:
    archive = JobArchive(cast(JudicatorClient, Judicator([wrote(execute_output=None)])), JOB)
    pieces = archive.write(await archive.load_page(0))
    assert await anext(pieces)
    await asyncio.wait_for(pieces.aclose(), 60)
