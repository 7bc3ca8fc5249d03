"""The client under asyncio. One connection pool; safe to use from several tasks at once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypeAlias, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
import yarl

from khala.client.documents import Artifact, Artifacts, Created, Nodes, Page, Row, Status, Task
from khala.client.failures import failure_of
from khala.client.request import NewTask
from khala.model.errors import KhalaError, OutcomeUnknown, Rejected, Unavailable
from khala.model.task import Stage, TaskState

Answer = TypeVar("Answer")
StreamName: TypeAlias = Literal["stdout", "stderr"]

#: One answer, and connecting to the gateway.
ANSWER_S = 30.0
CONNECT_S = 5.0
#: One long poll; the gateway takes up to 60 s.
POLL_S = 30
#: How long a gateway that is away is asked again.
PATIENCE_S = 30.0
PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 3.0
PIECE_BYTES = 256 * 1024
PAGE_ITEMS = 500


class AsyncKhala:
    """A gateway at `url`; use it in `async with`."""

    def __init__(
        self, url: str, *, token: str | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """`patience_s`: how long what may be repeated is tried again while nobody answers."""
        if not url.startswith(("http://", "https://")):
            raise Rejected(
                f"url: http://HOST:PORT is expected, {url[:80]!r} was given", field="url"
            )
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience_s = patience_s
        self._opened: aiohttp.ClientSession | None = None

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
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    # ---- tasks ------------------------------------------------------------------------------

    async def submit(self, task: NewTask, *, key: str | None = None) -> str:
        """Create it and return its id. Repeated until answered: the key, one of its own if none is
        given, makes that safe."""
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        body = msgspec.json.encode(task.document())
        headers["Content-Type"] = "application/json"
        answer = await self._ask("POST", "/api/v2/tasks", body=body, headers=headers)
        return _parse(Created, answer).id

    async def get(self, task: str) -> Task:
        return _parse(Task, await self._ask("GET", f"/api/v2/tasks/{quote(task, safe='')}"))

    async def wait(self, task: str, timeout_s: float | None = None) -> Task:
        """Return it when it has ended, or as it is after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        path = f"/api/v2/tasks/{quote(task, safe='')}"
        while True:
            left_s = POLL_S if deadline is None else max(0.0, deadline - time.monotonic())
            wait_s = int(min(POLL_S, left_s))
            found = _parse(Task, await self._ask("GET", f"{path}?wait={wait_s}s"))
            if found.done or (deadline is not None and time.monotonic() >= deadline):
                return found
            if wait_s == 0:
                await asyncio.sleep(min(left_s, PAUSE_MIN_S))

    async def run(self, task: NewTask, timeout_s: float | None = None) -> Task:
        """Submit it and wait for its end."""
        return await self.wait(await self.submit(task), timeout_s)

    async def cancel(self, task: str) -> Row:
        """Raise `AlreadyDone` if it had ended otherwise. Cancelling twice is cancelling once."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/cancel"
        return _parse(Row, await self._ask("POST", path))

    async def list_page(
        self,
        *,
        user: int | None = None,
        states: tuple[TaskState, ...] = (),
        created: tuple[datetime | None, datetime | None] = (None, None),
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """One page, newest first; `created` bounds the time of submission on both sides."""
        query = {"limit": str(limit)}
        for name, moment in zip(("created_after", "created_before"), created, strict=True):
            if moment is not None:
                query[name] = moment.isoformat()
        if user is not None:
            query["user"] = str(user)
        if states:
            query["state"] = ",".join(states)
        if cursor is not None:
            query["cursor"] = cursor
        return _parse(Page, await self._ask("GET", "/api/v2/tasks", query=query))

    async def tasks(
        self, *, user: int | None = None, states: tuple[TaskState, ...] = ()
    ) -> AsyncIterator[Row]:
        """Every task that matches, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.list_page(user=user, states=states, limit=PAGE_ITEMS, cursor=cursor)
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
        async with self._open("/api/task", query) as pieces:
            yield pieces

    async def read_output(
        self, task: str, stream: StreamName = "stdout", stage: Stage = Stage.EXECUTE
    ) -> bytes:
        """All of it at once."""
        async with self.open_output(task, stream, stage) as pieces:
            return b"".join([piece async for piece in pieces])

    async def list_artifacts(self, task: str) -> list[Artifact]:
        path = f"/api/v2/tasks/{quote(task, safe='')}/artifacts"
        return _parse(Artifacts, await self._ask("GET", path)).files

    @asynccontextmanager
    async def open_artifact(self, artifact: Artifact) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a file that a task left, in pieces."""
        async with self._open(artifact.href, {}) as pieces:
            yield pieces

    # ---- the cluster ------------------------------------------------------------------------

    async def status(self) -> Status:
        return _parse(Status, await self._ask("GET", "/api/v2/status"))

    async def nodes(self) -> Nodes:
        return _parse(Nodes, await self._ask("GET", "/api/v2/nodes"))

    # ---- one request ------------------------------------------------------------------------

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            )
        return self._opened

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Every call of this class may be repeated: a submission carries a key."""
        deadline = time.monotonic() + self._patience_s
        pause_s = PAUSE_MIN_S
        while True:
            try:
                return await self._try(method, path, query=query, body=body, headers=headers)
            except (Unavailable, OutcomeUnknown):
                if time.monotonic() + pause_s > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)

    async def _try(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> bytes:
        request = self._session.request(
            method, self.url + path, params=query, data=body, headers=headers
        )
        try:
            async with asyncio.timeout(ANSWER_S + POLL_S), request as response:
                answer = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        if response.status >= 400:
            raise failure_of(response.status, answer, self.url)
        return answer

    @asynccontextmanager
    async def _open(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            async with self._session.get(
                yarl.URL(self.url + path, encoded=True), params=query
            ) as response:
                if response.status >= 400:
                    raise failure_of(response.status, await response.read(), self.url)
                yield self._pieces(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        while True:
            async with asyncio.timeout(ANSWER_S):
                piece = await response.content.read(PIECE_BYTES)
            if not piece:
                return
            yield piece

    def _unreachable(self, error: BaseException) -> KhalaError:
        return Unavailable(
            f"no gateway answers at {self.url} ({str(error) or type(error).__name__}); is one"
            " running there? --url or KHALA_URL names another"
        )


def _parse(kind: type[Answer], body: bytes) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable(
            f"the answer is not a gateway's, or of another version: {error}"
        ) from error
