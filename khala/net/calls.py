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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.limits import COMMIT_DEADLINE_S, STORE_TIMEOUT_S
from khala.net import request_ids
from khala.net.address_book import AddressBook
from khala.net.credentials import Credentials
from khala.net.rpc_errors import parse_rpc_failure

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
#: Bytes per piece of a streamed part or output.
PIECE_BYTES = 256 * 1024


class Call(Struct, frozen=True, kw_only=True):
    method: str
    path: str
    body: bytes = b""
    #: Carrying it out twice is the same as once.
    repeatable: bool = True
    #: Asked with a body, and still nothing but a read.
    reads: bool = False
    #: Older judicators do not know the path; another one is asked.
    newer: bool = False
    try_s: float = READ_S
    total_s: float = READ_TOTAL_S


class Calls:
    """Carries calls out; one per process, `close` it at the end."""

    def __init__(self, book: AddressBook, credentials: Credentials) -> None:
        self.book = book
        self._credentials = credentials
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

    async def ask(
        self,
        method: str,
        path: str,
        body: Struct | None,
        kind: type[Answer],
        *,
        within_s: float = WRITE_S,
    ) -> Answer:
        """A call that few make; a change is not repeated when its outcome is unknown. One judicator
        may take `within_s`."""
        call = Call(
            method=method,
            path=path,
            body=b"" if body is None else msgspec.msgpack.encode(body),
            repeatable=method == "GET",
            try_s=within_s,
            total_s=2 * within_s,
        )
        return parse(msgspec.msgpack.Decoder(kind), await self._call(call))

    async def ask_at(
        self, address: str, method: str, path: str, kind: type[Answer], *, within_s: float = WRITE_S
    ) -> Answer:
        """What only that one judicator can answer."""
        call = Call(method=method, path=path, repeatable=False)
        return parse(msgspec.msgpack.Decoder(kind), await self._try(address, call, within_s))

    async def _call(self, call: Call) -> bytes:
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

    async def _try(self, address: str, call: Call, timeout_s: float) -> bytes:
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    call.method,
                    **self._request(address, call.path),
                    data=_sendable(call.body),
                ) as response,
            ):
                body = await response.read()
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unavailable(
                f"{address} is no judicator of this node's cluster: {error.certificate_error}"
            ) from error
        except _UNSENT as error:
            raise Unavailable(f"judicator {address} is not reachable: {error}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise OutcomeUnknown(f"judicator {address} did not answer: {_why(error)}") from error
        if response.status == 404 and call.newer:
            raise Unavailable(f"judicator {address} is older than what it was asked; upgrade it")
        if response.status >= 300:
            raise _refusal(address, response.status, body)
        self.book.praise(address)
        return body

    def _request(self, address: str, path: str) -> dict[str, Any]:
        request = self._credentials.request(address, path)
        if name := request_ids.current():
            request["headers"][request_ids.HEADER] = name
        return request

    @asynccontextmanager
    async def _open(
        self, path: str, *, at: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Rotates until one judicator starts to send; from there on it is that one's stream. `at`:
        there is no other."""
        failure: Unavailable | None = None
        for address in self.book.order() if at is None else (at,):
            try:
                async with asyncio.timeout(READ_S):
                    response = await self._session.get(**self._request(address, path))
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
            f"judicator {address} refused this process: it needs a certificate of the cluster (see"
            " --join-token-file), or on one host the same --secret-file"
        )
    return parse_rpc_failure(status, body)


def _give_up(
    call: Call, failure: Unavailable | None, doubt: OutcomeUnknown | None
) -> Unavailable | OutcomeUnknown:
    if doubt is not None and call.method != "GET" and not call.reads:
        return doubt
    if failure is not None:
        return failure
    return Unavailable(doubt.message if doubt else "no judicator is known; see --join")


def parse(decoder: msgspec.msgpack.Decoder[Answer], body: bytes) -> Answer:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"a judicator of another version answered: {error}") from error


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
