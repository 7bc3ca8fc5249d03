"""Is it there yet, is the port free: questions asked with nothing but a socket."""

from __future__ import annotations

import asyncio
import socket

from khala.model.errors import Rejected

_TIMEOUT_S = 1.0


async def tcp_answers(host: str, port: int) -> bool:
    """Something accepts connections there."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def http_ok(host: str, port: int, path: str) -> bool:
    """A GET there is answered with 200."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            status = await reader.readline()
    except (OSError, TimeoutError):
        return False
    writer.close()
    return b" 200 " in status


def require_free(host: str, port: int, flag: str) -> None:
    """Raise `Rejected` now rather than have a database fail in its log later."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Rejected(
                f"{flag}: port {port} of {host} cannot be had: {error.strerror};"
                " stop the program that uses it or give another port",
                field=flag,
            ) from error
