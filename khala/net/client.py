"""The client of the judicators' RPC: every judicator is as good as another.

A request goes to one judicator and, if that cannot answer, to the next. What may be repeated
decides how far that goes: `Unavailable` says that nothing happened, so anything is repeated; after
`OutcomeUnknown` only what has no second effect is, which is every read, and every submission that
carries a key. A cancellation is repeated too, because finding the task cancelled is its success.

Patience is bounded twice: by a deadline over all tries, and by a short time during which an
unreachable cluster is tried again, which hides the restart of a judicator without making a user
wait for a cluster that is gone.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from khala.model.errors import AlreadyDone, OutcomeUnknown, Unavailable
from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import COMMIT_DEADLINE_S, STORE_TIMEOUT_S
from khala.model.outcome import Chunked, Stream
from khala.model.spec import Part
from khala.model.task import Task, TaskBrief, TaskState, brief_of
from khala.net.rpc_errors import parse_rpc_failure
from khala.net.secrets import SecretFile
from khala.protocol.rpc import (
    Cancelled,
    ClusterView,
    ListTasks,
    MetricsView,
    SearchTasks,
    SubmitTask,
    Submitted,
    TaskPage,
    TaskRows,
)

Answer = TypeVar("Answer")

CONNECT_S = 2.0
#: One try. A judicator needs up to its own deadline to answer honestly; the second is the way.
READ_S = STORE_TIMEOUT_S + 1.0
WRITE_S = COMMIT_DEADLINE_S + 1.0
#: All tries of one request.
READ_TOTAL_S = 2 * READ_S
WRITE_TOTAL_S = 2 * WRITE_S
#: How long a cluster that answers with nothing but `Unavailable` is asked again.
PATIENCE_S = 2.0
PAUSE_S = 0.25
#: A judicator that failed is asked after all others for this long.
BLAME_S = 3.0
#: Bytes per piece of a streamed part or output.
PIECE_BYTES = 256 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode_task = msgspec.msgpack.Decoder(Task)
_decode_submitted = msgspec.msgpack.Decoder(Submitted)
_decode_cancelled = msgspec.msgpack.Decoder(Cancelled)
_decode_rows = msgspec.msgpack.Decoder(TaskRows)
_decode_page = msgspec.msgpack.Decoder(TaskPage)
_decode_cluster = msgspec.msgpack.Decoder(ClusterView)
_decode_metrics = msgspec.msgpack.Decoder(MetricsView)


class AddressBook:
    """The judicators' RPC addresses: those configured, and those the cluster told of."""

    def __init__(self, seeds: Iterable[str]) -> None:
        self._seeds = list(dict.fromkeys(seeds))
        self._learned: list[str] = []
        self._blamed: dict[str, float] = {}
        self._turn = 0

    @property
    def addresses(self) -> list[str]:
        return list(dict.fromkeys([*self._learned, *self._seeds]))

    def learn(self, addresses: Iterable[str]) -> None:
        """What a judicator last saw in the registry replaces what was learned before."""
        self._learned = list(addresses)

    def blame(self, address: str) -> None:
        self._blamed[address] = time.monotonic() + BLAME_S

    def praise(self, address: str) -> None:
        self._blamed.pop(address, None)

    def order(self) -> list[str]:
        """All addresses, rotated by one for each call; those that failed lately come last."""
        known = self.addresses
        if not known:
            return []
        self._turn = (self._turn + 1) % len(known)
        rotated = known[self._turn :] + known[: self._turn]
        if not self._blamed:
            return rotated
        now = time.monotonic()
        return sorted(rotated, key=lambda address: self._blamed.get(address, 0.0) > now)


class _Call(Struct, frozen=True, kw_only=True):
    method: str
    path: str
    body: bytes = b""
    #: Carrying it out twice is the same as once.
    repeatable: bool = True
    try_s: float = READ_S
    total_s: float = READ_TOTAL_S


class JudicatorClient:
    """One per process; `close` it at the end."""

    def __init__(self, book: AddressBook, secret: SecretFile) -> None:
        self.book = book
        self._secret = secret
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=512, keepalive_timeout=30.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        # aiohttp would repeat a DELETE on its own when a connection breaks, and report a
        # cancellation that took effect as one that came too late. There is no public switch.
        self._session._retry_connection = False

    async def close(self) -> None:
        await self._session.close()

    # ---- tasks ------------------------------------------------------------------------------

    async def submit(self, request: SubmitTask) -> Submitted:
        """Repeated until answered only if `request` carries a key."""
        call = _Call(
            method="POST",
            path="/rpc/v1/tasks",
            body=_encode(request),
            repeatable=request.key is not None,
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        return _parse(_decode_submitted, await self._call(call))

    async def get(self, task: TaskId) -> Task:
        answer = await self._call(_Call(method="GET", path=f"/rpc/v1/tasks/{task}"))
        return _parse(_decode_task, answer)

    async def cancel(self, task: TaskId) -> TaskBrief:
        """Raise `AlreadyDone` if the task had ended before."""
        call = _Call(
            method="DELETE",
            path=f"/rpc/v1/tasks/{task}",
            repeatable=False,
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        try:
            return _parse(_decode_cancelled, await self._call(call)).task
        except OutcomeUnknown:
            return await self._cancel_again(task, call)

    async def _cancel_again(self, task: TaskId, call: _Call) -> TaskBrief:
        try:
            return _parse(_decode_cancelled, await self._call(call)).task
        except AlreadyDone:
            found = await self.get(task)
            if found.state is TaskState.CANCELLED:
                return brief_of(found)
            raise

    async def search(self, query: SearchTasks) -> TaskPage:
        call = _Call(method="POST", path="/rpc/v1/tasks/search", body=_encode(query))
        return _parse(_decode_page, await self._call(call))

    async def list_tasks(self, query: ListTasks) -> TaskRows:
        call = _Call(method="POST", path="/rpc/v1/tasks/list", body=_encode(query))
        return _parse(_decode_rows, await self._call(call))

    # ---- bytes ------------------------------------------------------------------------------

    @asynccontextmanager
    async def open_part(self, task: TaskId, part: Part) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a payload part. A stream that breaks raises `Unavailable`."""
        async with self._open(f"/rpc/v1/tasks/{task}/parts/{part}") as pieces:
            yield pieces

    @asynccontextmanager
    async def open_stream(
        self, task: TaskId, stream: Stream
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a recorded output."""
        async with self._open(f"/rpc/v1/tasks/{task}/streams/{stream}") as pieces:
            yield pieces

    @asynccontextmanager
    async def open_artifacts(
        self, task: TaskId, first: int, size_bytes: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a part of a task's artifacts, which are one stream of bytes."""
        path = f"/rpc/v1/tasks/{task}/artifacts?first={first}&size={size_bytes}"
        async with self._open(path) as pieces:
            yield pieces

    async def put_chunk(
        self, run: tuple[TaskId, AttemptNo], stream: Chunked, n: int, data: bytes
    ) -> None:
        """Store one chunk of what an attempt left; the same chunk twice is stored once."""
        path = f"/rpc/v1/outputs/{run[0]}/{run[1]}/{stream}/{n}"
        await self._call(
            _Call(method="PUT", path=path, body=data, try_s=WRITE_S, total_s=WRITE_TOTAL_S)
        )

    # ---- cluster ----------------------------------------------------------------------------

    async def view_from(self, address: str, timeout_s: float) -> ClusterView:
        """The cluster as that one judicator sees it."""
        call = _Call(method="GET", path="/rpc/v1/cluster")
        return _parse(_decode_cluster, await self._try(address, call, timeout_s))

    async def metrics_from(self, address: str, timeout_s: float) -> MetricsView:
        """What that one judicator counted."""
        call = _Call(method="GET", path="/rpc/v1/metrics")
        return _parse(_decode_metrics, await self._try(address, call, timeout_s))

    # ---- one request ------------------------------------------------------------------------

    async def _call(self, call: _Call) -> bytes:
        start = time.monotonic()
        doubt: OutcomeUnknown | None = None
        while True:
            failure: Unavailable | None = None
            for address in self.book.order():
                left_s = start + call.total_s - time.monotonic()
                if left_s <= 0:
                    break
                try:
                    return await self._try(address, call, min(call.try_s, left_s))
                except Unavailable as error:
                    failure = error
                except OutcomeUnknown as error:
                    if not call.repeatable:
                        raise
                    doubt = error
                self.book.blame(address)
            if time.monotonic() - start + PAUSE_S > PATIENCE_S:
                raise _give_up(call, failure, doubt)
            await asyncio.sleep(PAUSE_S)

    async def _try(self, address: str, call: _Call, timeout_s: float) -> bytes:
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    call.method,
                    f"http://{address}{call.path}",
                    data=_sendable(call.body),
                    headers=self._headers(),
                ) as response,
            ):
                body = await response.read()
        except _UNSENT as error:
            raise Unavailable(f"judicator {address} is not reachable: {error}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise OutcomeUnknown(f"judicator {address} did not answer: {_why(error)}") from error
        if response.status >= 300:
            raise _refusal(address, response.status, body)
        self.book.praise(address)
        return body

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._secret.read()}"}

    @asynccontextmanager
    async def _open(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Rotates until one judicator starts to send; from there on it is that one's stream."""
        failure: Unavailable | None = None
        for address in self.book.order():
            try:
                async with asyncio.timeout(READ_S):
                    response = await self._session.get(
                        f"http://{address}{path}", headers=self._headers()
                    )
                if response.status >= 300:
                    body = await _read_refusal(response)
                    raise _refusal(address, response.status, body)
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                failure = Unavailable(f"judicator {address} did not answer: {_why(error)}")
            except (Unavailable, OutcomeUnknown) as error:
                failure = Unavailable(error.message)
            else:
                try:
                    yield _pieces(response)
                finally:
                    response.close()
                return
            self.book.blame(address)
        raise failure or Unavailable("no judicator is known; see --join")


def _sendable(body: bytes) -> bytes | io.BytesIO | None:
    """A large body goes out in pieces, between which the event loop serves others."""
    if len(body) > PIECE_BYTES:
        return io.BytesIO(body)
    return body or None


#: Nothing of the request has reached a judicator.
_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


async def _read_refusal(response: aiohttp.ClientResponse) -> bytes:
    async with asyncio.timeout(READ_S):
        return await response.read()


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    content = response.content
    try:
        while True:
            async with asyncio.timeout(READ_S):
                piece = await content.read(PIECE_BYTES)
            if not piece:
                return
            yield piece
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"the judicator stopped sending: {_why(error)}") from error


def _refusal(address: str, status: int, body: bytes) -> Exception:
    if status == 401:
        return Unavailable(
            f"judicator {address} refused the cluster's secret; every process of a cluster needs"
            " the same --secret-file"
        )
    return parse_rpc_failure(status, body)


#: Asked with a body, and still nothing but a read.
_READS = ("/rpc/v1/tasks/search", "/rpc/v1/tasks/list")


def _give_up(
    call: _Call, failure: Unavailable | None, doubt: OutcomeUnknown | None
) -> Unavailable | OutcomeUnknown:
    if doubt is not None and call.method != "GET" and call.path not in _READS:
        return doubt
    if failure is not None:
        return failure
    return Unavailable(doubt.message if doubt else "no judicator is known; see --join")


def _parse(decoder: msgspec.msgpack.Decoder[Answer], body: bytes) -> Answer:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"a judicator of another version answered: {error}") from error


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
