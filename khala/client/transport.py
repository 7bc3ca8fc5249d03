"""One request to a gateway: sent, repeated while that is safe, turned into an answer or an error.

Every call of the client may be repeated: reads and cancellations have no second effect, and a
submission carries a key.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec
import yarl
from msgspec import Struct

from khala.client.failures import failure_of
from khala.model.errors import KhalaError, OutcomeUnknown, RateLimited, Rejected, Unavailable

Answer = TypeVar("Answer")
JSON = {"Content-Type": "application/json"}
#: One answer, and connecting to the gateway.
ANSWER_S = 30.0
CONNECT_S = 5.0
#: One long poll; the gateway takes up to 60 s.
POLL_S = 30
PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 3.0
PIECE_BYTES = 256 * 1024


class Call(Struct, frozen=True, kw_only=True):
    method: str
    path: str
    query: Mapping[str, str] = {}
    body: bytes | None = None
    headers: Mapping[str, str] = {}


class Reply(Struct, frozen=True, kw_only=True):
    body: bytes
    #: The submission had been accepted before, under the same key.
    replayed: bool


class Transport:
    """One connection pool to the gateway at `url`."""

    def __init__(self, url: str, token: str | None, patience_s: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise Rejected(
                f"url: http://HOST:PORT is expected, {url[:80]!r} was given", field="url"
            )
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.patience_s = patience_s
        self._opened: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def ask(self, call: Call) -> bytes:
        """The body of the answer, as `exchange`."""
        return (await self.exchange(call)).body

    async def exchange(self, call: Call) -> Reply:
        """The answer. Raises the error that a refusal stands for, `Unavailable` when nobody has
        answered for as long as patience lasts."""
        deadline = time.monotonic() + self.patience_s
        pause_s = PAUSE_MIN_S
        while True:
            try:
                return await self._try(call)
            except (Unavailable, OutcomeUnknown) as error:
                wait_s = error.retry_after_s if isinstance(error, RateLimited) else pause_s
                if time.monotonic() + wait_s > deadline:
                    raise
            await asyncio.sleep(wait_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)

    @asynccontextmanager
    async def open(
        self,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] = {},
        *,
        silence_s: float = ANSWER_S,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body in pieces; `path` is quoted already. A stream that breaks, or says nothing for
        `silence_s`, is `Unavailable`."""
        url = yarl.URL(self.url + path, encoded=True)
        deadline = time.monotonic() + self.patience_s
        while True:
            with self._failures():
                response = await self._session.get(url, params=query, headers=headers)
            # What the caller does with the bytes may fail as well, and is not the gateway's fault.
            async with response:
                if response.status < 400:
                    yield self._pieces(response, silence_s)
                    return
                with self._failures():
                    answer = await response.read()
            error = self._refusal(response, answer)
            # Any other failure is the caller's to look at: it knows what it has already.
            if not isinstance(error, RateLimited):
                raise error
            if time.monotonic() + error.retry_after_s > deadline:
                raise error
            await asyncio.sleep(error.retry_after_s)

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            )
        return self._opened

    async def _try(self, call: Call) -> Reply:
        request = self._session.request(
            call.method,
            self.url + call.path,
            params=call.query,
            # A large body goes out in pieces, between which the loop serves others.
            data=io.BytesIO(call.body) if call.body and len(call.body) > PIECE_BYTES else call.body,
            headers=call.headers,
        )
        with self._failures():
            async with asyncio.timeout(ANSWER_S + POLL_S), request as response:
                answer = await response.read()
        if response.status >= 400:
            raise self._refusal(response, answer)
        return Reply(body=answer, replayed="Idempotency-Replayed" in response.headers)

    def _refusal(self, response: aiohttp.ClientResponse, answer: bytes) -> KhalaError:
        retry_after = response.headers.get("Retry-After", "")
        return failure_of(response.status, answer, self.url, retry_after)

    async def _pieces(
        self, response: aiohttp.ClientResponse, silence_s: float
    ) -> AsyncIterator[bytes]:
        while True:
            with self._failures():
                async with asyncio.timeout(silence_s):
                    piece = await response.content.readany()
            if not piece:
                return
            yield piece

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Of the line to the gateway: all of them are `Unavailable`."""
        try:
            yield
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(
                f"no gateway answers at {self.url} ({str(error) or type(error).__name__}); is one"
                " running there? --url or KHALA_URL names another"
            ) from error


class Calls:
    """What all parts of `AsyncKhala` ask with."""

    _transport: Transport

    async def _ask(self, method: str, path: str, **fields: Any) -> bytes:
        return await self._transport.ask(Call(method=method, path=path, **fields))


def parse(kind: type[Answer], body: bytes) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable(
            f"the answer is not a gateway's, or of another version: {error}"
        ) from error
