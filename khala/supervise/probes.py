"""Is it there yet, is the port free: questions asked with nothing but a socket."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable

from msgspec import Struct

from khala.model.errors import Rejected

_TIMEOUT_S = 1.0
_FREE_S = 0.5


async def tcp_answers(host: str, port: int) -> bool:
    """Something accepts connections there."""
    return await _ask(host, port, b"") is not None


class Tls(Struct, frozen=True):
    """How to ask where certificates are shown: the context, and the name to find."""

    context: Callable[[], ssl.SSLContext]
    server_name: str


async def http_ok(host: str, port: int, path: str, tls: Tls | None = None) -> bool:
    """A GET there is answered with 200."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    status = await _ask(host, port, request, tls)
    return status is not None and b" 200 " in status


def require_free(host: str, port: int, flag: str, wait_s: float = _FREE_S) -> None:
    """Raise `Rejected` now rather than have a database fail in its log later."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            _bind(host, port)
        except OSError as error:
            # A predecessor that was just killed gives its lock back before its ports.
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise Rejected(
                f"{flag}: port {port} of {host} cannot be had: {error.strerror};"
                " stop the program that uses it or give another port",
                field=flag,
            ) from error
        return


def _bind(host: str, port: int) -> None:
    with socket.socket() as probe:
        # Else connections that have ended but are remembered count as use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


async def _ask(host: str, port: int, request: bytes, tls: Tls | None = None) -> bytes | None:
    """The first line of the answer, empty if nothing is asked; None if nobody answers."""
    writer = None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=tls.context() if tls else None,
                server_hostname=tls.server_name if tls else None,
            )
            if not request:
                return b""
            writer.write(request)
            return await reader.readline()
    except (OSError, TimeoutError, ValueError):
        # ValueError: a line without an end; whoever talks like that is not whom we ask.
        return None
    finally:
        if writer is not None:
            writer.transport.abort()
