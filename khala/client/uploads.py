"""Large files, sent so that a broken connection costs no more than what was under way on it.

A small one goes in one request: its repetition is cheaper than what finding out would cost. Of a
large one the gateway says how far it has come, and it goes on from there, whatever has happened to
the connection, the gateway, or this cluster meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias
from urllib.parse import quote

import msgspec
from msgspec import Struct

from khala.client.request import NewTask
from khala.client.transport import JSON, Call, Calls, parse
from khala.model.errors import (
    KhalaError,
    NotFound,
    OffsetDiffers,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from khala.model.limits import MIB
from khala.protocol.v2 import Blob, Upload, Uploads

#: A file that is larger is sent bit by bit.
RESUMABLE_BYTES = 8 * MIB
#: Of each request: a line of half a megabit takes a minute for it.
_PIECE_BYTES = 4 * MIB
_UPLOADS = "/api/v2/uploads"
#: Told of each step: bytes that are stored for good, and all.
Progress: TypeAlias = Callable[[int, int], None]


def _tell_nobody(_: int, __: int) -> None:
    """Of a program that does not ask."""


def _hash(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(MIB):
        digest.update(piece)
    return digest.hexdigest()


class _Sending(Struct):
    """A file under way."""

    file: BinaryIO
    size: int
    name: str
    progress: Progress


def _path(upload: str) -> str:
    return f"{_UPLOADS}/{quote(upload, safe='')}"


class UploadCalls(Calls):
    """A part of `AsyncKhala`."""

    #: Told how large files get on that are sent with a task.
    on_progress: Progress = staticmethod(_tell_nobody)

    async def put_blob(self, data: bytes) -> str:
        """Send bytes, unless they are there; the name that tasks give them."""
        if len(data) > RESUMABLE_BYTES:
            return await self._put(io.BytesIO(data), self.on_progress)
        name = hashlib.sha256(data).hexdigest()
        answer = await self._ask("PUT", f"/api/v2/blobs/{name}", body=data)
        return parse(Blob, answer).blob

    async def put_file(self, path: Path, *, progress: Progress | None = None) -> str:
        """The same of a file. A large one goes on where it was when a connection breaks. Raise
        `Rejected` if it changes meanwhile, OSError."""
        with open(path, "rb") as file:
            return await self._put(file, progress or self.on_progress)

    async def uploads(self, *, user: int | None = None) -> list[Upload]:
        """Those of a user (None: whose token is shown) that have not become a blob. `put_blob` and
        `put_file` go on with those of the same bytes."""
        query = {} if user is None else {"user": str(user)}
        answer = await self._ask("GET", _UPLOADS, query=query)
        return parse(Uploads, answer).items

    async def drop_upload(self, upload: str) -> None:
        """Give it up. Raise `NotFound`."""
        await self._ask("DELETE", _path(upload))

    async def _put(self, file: BinaryIO, progress: Progress) -> str:
        digest = await asyncio.to_thread(_hash, file)
        size = file.tell()
        file.seek(0)
        if size <= RESUMABLE_BYTES:
            return await self.put_blob(file.read())
        if await self._has_blob(digest):
            return f"sha256:{digest}"
        return await self._send(_Sending(file=file, size=size, name=digest, progress=progress))

    async def _send_ahead(self, tasks: Sequence[NewTask]) -> Mapping[bytes, str]:
        large = {
            content for task in tasks for content in task.contents if len(content) > RESUMABLE_BYTES
        }
        return {content: await self.put_blob(content) for content in large}

    async def _has_blob(self, name: str) -> bool:
        try:
            await self._ask("HEAD", f"/api/v2/blobs/{name}")
        except NotFound:
            return False
        return True

    async def _send(self, sending: _Sending) -> str:
        upload = await self._begun(sending) or await self._begin(sending)
        path = _path(upload.id)
        try:
            return await self._send_all(path, upload.offset, sending)
        except Rejected:
            # Nobody can go on with it, and only so many may be open.
            with suppress(KhalaError):
                await self._ask("DELETE", path)
            raise

    async def _begun(self, sending: _Sending) -> Upload | None:
        """Of the same bytes, by somebody who was interrupted, the one that is the furthest."""
        same = [
            each
            for each in await self.uploads()
            if (each.sha256, each.size) == (sending.name, sending.size)
        ]
        return max(same, key=lambda each: each.offset, default=None)

    async def _begin(self, sending: _Sending) -> Upload:
        given = msgspec.json.encode({"size": sending.size, "sha256": sending.name})
        return parse(Upload, await self._ask("POST", _UPLOADS, body=given, headers=JSON))

    async def _send_all(self, path: str, offset: int, sending: _Sending) -> str:
        sending.progress(offset, sending.size)
        while True:
            moved = await self._send_next(path, offset, sending)
            if isinstance(moved, str):
                sending.progress(sending.size, sending.size)
                return moved
            offset = moved
            sending.progress(offset, sending.size)

    async def _send_next(self, path: str, offset: int, sending: _Sending) -> str | int:
        """The offset that is right afterwards, or the blob. Raise `Unavailable` if nobody answers
        for as long as patience lasts and nothing has moved."""
        sending.file.seek(offset)
        data = sending.file.read(_PIECE_BYTES)
        if not data and offset < sending.size:
            raise Rejected(f"the file has {offset} bytes now, it had {sending.size}")
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        call = Call(method="PATCH", path=path, body=data, headers=headers)
        began = time.monotonic()
        try:
            answer = await self._transport.ask(call)
        except OffsetDiffers:
            return await self._offset_of(path)
        except (Unavailable, OutcomeUnknown):
            moved = await self._offset_of(path)
            if moved == offset and time.monotonic() - began > self._transport.patience_s:
                raise
            return moved
        return parse(Blob, answer).blob if answer else offset + len(data)

    async def _offset_of(self, path: str) -> int:
        return parse(Upload, await self._ask("GET", path)).offset
