"""The same client for programs without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from khala.client.aio import PATIENCE_S, AsyncKhala
from khala.client.events import Event, EventQuery
from khala.client.logs import LogEvent, LogQuery, StreamName
from khala.client.request import NewTask, TaskPatch
from khala.client.sync_operations import BlockingOperations
from khala.client.uploads import Progress
from khala.model.spec import Stage
from khala.model.task import TaskState
from khala.protocol.v2 import (
    Artifact,
    Attempts,
    Autoscale,
    CaseDetail,
    CaseDiff,
    Explanation,
    InputFile,
    Page,
    Plan,
    Queue,
    Quota,
    Row,
    Stats,
    Status,
    Task,
    TaskInputs,
)


class Khala(BlockingOperations):
    """A gateway at `url`; use it in `with`. Every method blocks until it is answered; see
    `AsyncKhala` for what each does. Not for threads that share one object."""

    def __init__(
        self, url: str, *, token: str | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        self._inner = AsyncKhala(url, token=token, patience_s=patience_s)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._do(self._inner.close())
        self._runner.close()

    def submit(self, task: NewTask, *, key: str | None = None) -> str:
        return self._do(self._inner.submit(task, key=key))

    def plan(self, task: NewTask) -> Plan:
        return self._do(self._inner.plan(task))

    def get(self, task: str) -> Task:
        return self._do(self._inner.get(task))

    def attempts(self, task: str) -> Attempts:
        return self._do(self._inner.attempts(task))

    def wait(self, task: str, timeout_s: float | None = None) -> Task:
        return self._do(self._inner.wait(task, timeout_s))

    def run(self, task: NewTask, timeout_s: float | None = None) -> Task:
        return self._do(self._inner.run(task, timeout_s))

    def cancel(self, task: str, *, reason: str = "", by: str = "", grace_s: float = 0) -> Row:
        return self._do(self._inner.cancel(task, reason=reason, by=by, grace_s=grace_s))

    def patch_task(self, task: str, patch: TaskPatch, *, if_match: Task | None = None) -> Task:
        return self._do(self._inner.patch_task(task, patch, if_match=if_match))

    def rerun(self, task: str, *, key: str | None = None) -> str:
        return self._do(self._inner.rerun(task, key=key))

    def retry(self, task: str, *, key: str | None = None) -> str:
        return self._do(self._inner.retry(task, key=key))

    def forget(self, task: str) -> None:
        self._do(self._inner.forget(task))

    def explain(self, task: str) -> Explanation:
        return self._do(self._inner.explain(task))

    def list_page(
        self,
        *,
        user: int | None = None,
        states: tuple[TaskState, ...] = (),
        filters: Mapping[str, str] = {},
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        page = self._inner.list_page(
            user=user, states=states, filters=filters, limit=limit, cursor=cursor
        )
        return self._do(page)

    def tasks(
        self,
        *,
        user: int | None = None,
        states: tuple[TaskState, ...] = (),
        filters: Mapping[str, str] = {},
    ) -> Generator[Row, None, None]:
        return self._each(self._inner.tasks(user=user, states=states, filters=filters))

    def read_output(
        self, task: str, stream: StreamName = "stdout", stage: Stage = Stage.EXECUTE
    ) -> bytes:
        return self._do(self._inner.read_output(task, stream, stage))

    def get_case(self, task: str, number: int) -> CaseDetail:
        return self._do(self._inner.get_case(task, number))

    def diff_case(self, task: str, number: int) -> CaseDiff:
        return self._do(self._inner.diff_case(task, number))

    def logs(self, task: str, query: LogQuery | None = None) -> Generator[LogEvent, None, None]:
        return self._each(self._inner.logs(task, query))

    def put_file(self, path: Path, *, progress: Progress | None = None) -> str:
        return self._do(self._inner.put_file(path, progress=progress))

    def get_inputs(self, task: str) -> TaskInputs:
        return self._do(self._inner.get_inputs(task))

    def read_case_output(self, task: str, number: int, stream: StreamName = "stdout") -> bytes:
        return self._joined(self._inner.open_case_output(task, number, stream))

    def read_input(self, file: InputFile) -> bytes:
        """All of it at once."""
        return self._joined(self._inner.open_input(file))

    def list_artifacts(self, task: str) -> list[Artifact]:
        return self._do(self._inner.list_artifacts(task))

    def read_artifact(self, artifact: Artifact) -> bytes:
        """All of it at once; it is as large as the task was allowed to leave."""
        return self._joined(self._inner.open_artifact(artifact))

    def status(self) -> Status:
        return self._do(self._inner.status())

    def quota(self, user: int | None = None) -> Quota:
        return self._do(self._inner.quota(user))

    def queue(self, *, user: int | None = None, limit: int = 50) -> Queue:
        return self._do(self._inner.queue(user=user, limit=limit))

    def stats(
        self, *, start: datetime | None = None, end: datetime | None = None, step: str = "1h"
    ) -> Stats:
        return self._do(self._inner.stats(start=start, end=end, step=step))

    def autoscale(self, *, within_s: int = 60) -> Autoscale:
        return self._do(self._inner.autoscale(within_s=within_s))

    def events(self, query: EventQuery | None = None) -> Generator[Event, None, None]:
        return self._each(self._inner.events(query))

    def metrics(self) -> str:
        return self._do(self._inner.metrics())
