"""The client under asyncio. One connection pool; safe to use from several tasks at once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from urllib.parse import quote

import msgspec

from khala.client.access import AccessCalls
from khala.client.events import Event, EventQuery, read_events
from khala.client.files import FileCalls
from khala.client.jobs import cancelling
from khala.client.load import LoadCalls
from khala.client.logs import LogEvent, LogQuery, StreamName, read_log
from khala.client.operations import OperatorCalls
from khala.client.request import NewTask
from khala.client.transport import PAUSE_MIN_S, POLL_S, Transport, parse
from khala.model.spec import Stage
from khala.model.task import TaskState
from khala.protocol.v2 import (
    Artifact,
    Artifacts,
    Attempts,
    CaseDetail,
    CaseDiff,
    Created,
    Explanation,
    Page,
    Plan,
    Quota,
    Row,
    Status,
    Task,
)

#: How long a gateway that is away is asked again.
PATIENCE_S = 30.0
PAGE_ITEMS = 500


class AsyncKhala(FileCalls, LoadCalls, AccessCalls, OperatorCalls):
    """A gateway at `url`; use it in `async with`."""

    def __init__(
        self, url: str, *, token: str | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """`patience_s`: how long what may be repeated is tried again while nobody answers."""
        self._transport = Transport(url, token, patience_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    # ---- tasks ------------------------------------------------------------------------------

    async def submit(self, task: NewTask, *, key: str | None = None) -> str:
        """Create it and return its id. Repeated until answered: the key, one of its own if none is
        given, makes that safe."""
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        body = msgspec.json.encode(task.document(await self._send_ahead([task])))
        headers["Content-Type"] = "application/json"
        answer = await self._ask("POST", "/api/v2/tasks", body=body, headers=headers)
        return parse(Created, answer).id

    async def plan(self, task: NewTask) -> Plan:
        """What it would be, with every default and bound; nothing is submitted."""
        body = msgspec.json.encode(task.document(await self._send_ahead([task])))
        headers = {"Content-Type": "application/json"}
        query = {"dry_run": "true"}
        answer = await self._ask("POST", "/api/v2/tasks", query=query, body=body, headers=headers)
        return parse(Plan, answer)

    async def get(self, task: str) -> Task:
        return parse(Task, await self._ask("GET", f"/api/v2/tasks/{quote(task, safe='')}"))

    async def attempts(self, task: str) -> Attempts:
        """Its tries, and how each of them ended."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/attempts"
        return parse(Attempts, await self._ask("GET", path))

    async def wait(self, task: str, timeout_s: float | None = None) -> Task:
        """Return it when it has ended, or as it is after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        path = f"/api/v2/tasks/{quote(task, safe='')}"
        while True:
            left_s = POLL_S if deadline is None else max(0.0, deadline - time.monotonic())
            wait_s = int(min(POLL_S, left_s))
            found = parse(Task, await self._ask("GET", f"{path}?wait={wait_s}s"))
            if found.done or (deadline is not None and time.monotonic() >= deadline):
                return found
            if wait_s == 0:
                await asyncio.sleep(min(left_s, PAUSE_MIN_S))

    async def run(self, task: NewTask, timeout_s: float | None = None) -> Task:
        """Submit it and wait for its end."""
        return await self.wait(await self.submit(task), timeout_s)

    async def cancel(self, task: str, *, reason: str = "", by: str = "", grace_s: float = 0) -> Row:
        """What runs has `grace_s` from SIGTERM to its end. Raise `AlreadyDone` if it had ended
        otherwise. Cancelling twice is cancelling once: what was said first is kept."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/cancel"
        return parse(Row, await self._ask("POST", path, **cancelling(reason, by, grace_s)))

    async def rerun(self, task: str, *, key: str | None = None) -> str:
        """Submit the same again, whether it has ended or not; the new id."""
        return await self._again(task, "rerun", key)

    async def retry(self, task: str, *, key: str | None = None) -> str:
        """The same of a task that has ended; raise `NotDone` of another."""
        return await self._again(task, "retry", key)

    async def _again(self, task: str, how: str, key: str | None) -> str:
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        path = f"/api/v2/tasks/{quote(task, safe='')}/{how}"
        return parse(Created, await self._ask("POST", path, headers=headers)).id

    async def forget(self, task: str) -> None:
        """Remove a task that has ended, and all it left. Raise `NotDone` of another."""
        await self._ask("DELETE", f"/api/v2/tasks/{quote(task, safe='')}")

    async def explain(self, task: str) -> Explanation:
        """Why it waits, by executor, or why it ended."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/explain"
        return parse(Explanation, await self._ask("GET", path))

    async def list_page(
        self,
        *,
        user: int | None = None,
        states: tuple[TaskState, ...] = (),
        filters: Mapping[str, str] = {},
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """One page, newest first; `filters` are other parameters of the address, as
        `{"q": "alpha hw=3", "created_after": "2026-11-24"}`."""
        query = {**filters, "limit": str(limit)}
        if user is not None:
            query["user"] = str(user)
        if states:
            query["state"] = ",".join(states)
        if cursor is not None:
            query["cursor"] = cursor
        return parse(Page, await self._ask("GET", "/api/v2/tasks", query=query))

    async def tasks(
        self,
        *,
        user: int | None = None,
        states: tuple[TaskState, ...] = (),
        filters: Mapping[str, str] = {},
    ) -> AsyncGenerator[Row, None]:
        """Every task that matches, newest first, page by page; `filters` as of `list_page`."""
        cursor: str | None = None
        while True:
            page = await self.list_page(
                user=user, states=states, filters=filters, limit=PAGE_ITEMS, cursor=cursor
            )
            for row in page.items:
                yield row
            cursor = page.next_cursor
            if cursor is None:
                return

    # ---- what tasks leave -------------------------------------------------------------------

    @asynccontextmanager
    async def open_output(
        self, task: str, stream: StreamName = "stdout", stage: Stage = Stage.EXECUTE
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes that were kept of an output, in pieces."""
        name = {"stdout": "output", "stderr": "error"}[stream]
        query = {"id": task, "file": f"{stage}_{name}"}
        async with self._transport.open("/api/task", query) as pieces:
            yield pieces

    async def read_output(
        self, task: str, stream: StreamName = "stdout", stage: Stage = Stage.EXECUTE
    ) -> bytes:
        """All of it at once."""
        async with self.open_output(task, stream, stage) as pieces:
            return b"".join([piece async for piece in pieces])

    async def get_case(self, task: str, number: int) -> CaseDetail:
        """Case `number` of a task, from 1, with the beginning of each of its texts."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/cases/{number}"
        return parse(CaseDetail, await self._ask("GET", path))

    async def diff_case(self, task: str, number: int) -> CaseDiff:
        """What was expected of it beside what it wrote, from the first difference on. Raise
        `NotFound` where nothing was."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/cases/{number}/diff"
        return parse(CaseDiff, await self._ask("GET", path))

    def logs(self, task: str, query: LogQuery | None = None) -> AsyncGenerator[LogEvent, None]:
        """What it wrote, record by record; with `follow` until it has ended, whatever happens to
        the connection meanwhile. Close it (`contextlib.aclosing`) if you do not read to the end."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/logs"
        return read_log(self._transport, path, query or LogQuery())

    async def list_artifacts(self, task: str) -> list[Artifact]:
        path = f"/api/v2/tasks/{quote(task, safe='')}/artifacts"
        return parse(Artifacts, await self._ask("GET", path)).files

    @asynccontextmanager
    async def open_artifact(self, artifact: Artifact) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a file that a task left, in pieces."""
        async with self._transport.open(artifact.href, {}) as pieces:
            yield pieces

    # ---- the cluster ------------------------------------------------------------------------

    async def status(self) -> Status:
        return parse(Status, await self._ask("GET", "/api/v2/status"))

    async def quota(self, user: int | None = None) -> Quota:
        """What a user may have of the cluster, and has; None: whose token is shown."""
        query = {} if user is None else {"user": str(user)}
        return parse(Quota, await self._ask("GET", "/api/v2/quota", query=query))

    def events(self, query: EventQuery | None = None) -> AsyncGenerator[Event, None]:
        """What happens, event by event, whatever happens to the connection meanwhile; after a
        reset read anew what you know. Never ends: close it (`contextlib.aclosing`)."""
        return read_events(self._transport, query or EventQuery())

    async def metrics(self) -> str:
        """The cluster's numbers in Prometheus' text format; docs/metrics.md says what they are."""
        return (await self._ask("GET", "/metrics")).decode()
