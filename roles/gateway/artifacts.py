"""The files that tasks left: a list, one by one, or all as a zip archive.

They are strangers' files under strangers' names. So they are only ever offered for saving, never
to be shown in this origin, and a name reaches a header or an archive only in a form that has no
meaning there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import NotFound
from khala.model.ids import parse_task_id
from khala.model.outcome import ArtifactRef, Artifacts
from khala.model.task import Task
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.ranges import parse_range
from roles.gateway.zipping import Zip, safe_name

_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
FILE_HEADERS = {**_HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox"}
_BYTES = "application/octet-stream"


class ArtifactRoutes(Struct, frozen=True, kw_only=True):
    """The handlers."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks/<task_id:str>/artifacts",
            tag="Artifacts",
            answers={200: Answer(v2.Artifacts)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def list_artifacts(self, _: Request, task_id: str) -> HTTPResponse:
        """List the files that a task left."""
        task = await self.client.get(parse_task_id(task_id))
        body = v2.encode(view_artifacts(task, _artifacts_of(task)))
        return HTTPResponse(body, headers=_HEADERS, content_type="application/json")

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks/<task_id:str>/artifacts.zip",
            tag="Artifacts",
            answers={200: Answer(content="application/zip", headers=("Content-Disposition",))},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def download_artifacts(self, request: Request, task_id: str) -> HTTPResponse | None:
        """Download all of them as one archive."""
        task = await self.client.get(parse_task_id(task_id))
        artifacts = _artifacts_of(task)
        archive = Zip(artifacts.files)
        headers = {
            **FILE_HEADERS,
            "Content-Disposition": f'attachment; filename="{task.id}_artifacts.zip"',
            "Content-Length": str(archive.size_bytes),
        }
        if request.method == "HEAD":
            return HTTPResponse(None, headers=headers, content_type="application/zip")
        opened = self.client.open_artifacts(task.id, 0, artifacts.size_bytes)
        async with opened as pieces:
            response = await request.respond(headers=headers, content_type="application/zip")
            async for piece in archive.write(pieces):
                await response.send(piece)
            await response.eof()
        return None

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks/<task_id:str>/artifacts/<path:path>",
            tag="Artifacts",
            headers=("Range", "If-Range"),
            answers={
                200: Answer(content=_BYTES, headers=("ETag", "Content-Disposition")),
                206: Answer(content=_BYTES, headers=("ETag", "Content-Range")),
                416: Answer(content="", headers=("Content-Range",)),
            },
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def download_artifact(
        self, request: Request, task_id: str, path: str
    ) -> HTTPResponse | None:
        """Download one of them, or a part of it."""
        task = await self.client.get(parse_task_id(task_id))
        first, file = _find(_artifacts_of(task), unquote_to_bytes(path))
        wanted = _parse_range(request, file)
        headers = {
            **FILE_HEADERS,
            "Content-Disposition": _disposition(file.name),
            "ETag": _etag(file),
            "Accept-Ranges": "bytes",
        }
        if wanted is None:
            headers["Content-Range"] = f"bytes */{file.size_bytes}"
            return HTTPResponse(None, status=416, headers=headers)
        size = wanted.stop - wanted.start
        headers["Content-Length"] = str(size)
        status = 200
        if size != file.size_bytes:
            status = 206
            headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{file.size_bytes}"
        if request.method == "HEAD" or not size:
            return HTTPResponse(None, status=status, headers=headers, content_type=_BYTES)
        opened = self.client.open_artifacts(task.id, first + wanted.start, size)
        await pass_on(request, status, headers, opened)
        return None


async def pass_on(
    request: Request,
    status: int,
    headers: dict[str, str],
    opened: AbstractAsyncContextManager[AsyncIterator[bytes]],
    *,
    content_type: str = _BYTES,
) -> None:
    """The first piece is there before anything is promised: a failure up to here is a 503."""
    async with opened as pieces:
        first = await anext(pieces, b"")
        response = await request.respond(status=status, headers=headers, content_type=content_type)
        await response.send(first)
        async for piece in pieces:
            await response.send(piece)
        await response.eof()


def view_artifacts(task: Task, artifacts: Artifacts) -> v2.Artifacts:
    return v2.Artifacts(
        files=[
            v2.Artifact(
                name=file.name.decode("utf-8", "replace"),
                href=f"/api/v2/tasks/{task.id}/artifacts/{quote(file.name)}",
                size=file.size_bytes,
                sha256=file.sha256.hex(),
                executable=file.executable,
                modified_at=v2.stamp(datetime.fromtimestamp(file.modified_s, UTC)),
            )
            for file in artifacts.files
        ],
        size=artifacts.size_bytes,
        left_out=view_left_out(artifacts),
    )


def view_left_out(artifacts: Artifacts) -> list[v2.LeftOut]:
    return [
        v2.LeftOut(
            reason=reason,
            count=left_out.count,
            names=[name.decode("utf-8", "replace") for name in left_out.names],
        )
        for reason, left_out in artifacts.left_out.items()
    ]


def _artifacts_of(task: Task) -> Artifacts:
    if task.outcome is None:
        raise NotFound(f"task {task.id} has not ended; its artifacts are there when it has")
    return task.outcome.artifacts or Artifacts(chunk_bytes=1)


def _find(artifacts: Artifacts, name: bytes) -> tuple[int, ArtifactRef]:
    """A file and where its bytes begin."""
    at = 0
    for file in artifacts.files:
        if file.name == name:
            return at, file
        at += file.size_bytes
    shown = name.decode("utf-8", "replace")[:200]
    raise NotFound(f"the task left no artifact {shown!r}", field="path")


def _parse_range(request: Request, file: ArtifactRef) -> range | None:
    """The bytes asked for: all without an applicable range, None for impossible ones."""
    whole = range(file.size_bytes)
    if request.headers.get("if-range", _etag(file)) != _etag(file):
        return whole
    return parse_range(request.headers.get("range"), whole)


def _etag(file: ArtifactRef) -> str:
    return f'"{file.sha256.hex()}"'


def _disposition(name: bytes) -> str:
    """The last part of the name, once for everybody and once in full (RFC 6266)."""
    leaf = safe_name(name.rpartition(b"/")[2])
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", leaf)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(leaf, safe='')}"
