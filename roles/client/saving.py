"""Bytes of a cluster into a file of this host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from khala.model.errors import Rejected


async def save(
    opened: AbstractAsyncContextManager[AsyncIterator[bytes]], path: Path, instead: str
) -> None:
    """As a whole or not at all: half a file under the name of the whole would be taken for it. A
    file that exists is not replaced; `instead` says what to give."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            try:
                async with opened as pieces:
                    async for piece in pieces:
                        file.write(piece)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise Rejected(f"{str(path)!r} exists; give {instead}") from None
    except OSError as error:
        raise Rejected(f"{str(path)!r} cannot be written: {error.strerror}") from error
