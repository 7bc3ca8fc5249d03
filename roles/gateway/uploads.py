"""`/api/v2/uploads`: blobs that arrive bit by bit, over as many connections as it takes.

Nothing of an upload is kept here: what is acknowledged is in the store, on a majority, before its
sender hears of it, so any gateway goes on where another one was interrupted. Of a request that
breaks off, what had arrived is stored all the same, or a sender whose line breaks every few
seconds would never get anywhere.

When the last byte is there, all of them are hashed: as they pass, if they came in one request, or
else out of the store. Only then is there a blob.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.blob import (
    PREFIX,
    BlobName,
    NewBlob,
    UploadId,
    parse_blob_name,
    parse_upload_id,
)
from khala.model.errors import KhalaError, NotFound, OffsetDiffers, Rejected
from khala.model.ids import mint_task_id
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.model.upload import NewUpload, Upload
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.v2 import Issue, IssueCode, ProblemCode
from roles.gateway.blobs import BLOBS, Cut, blob_too_large
from roles.gateway.bodies import Budget, announced_bytes, drop_body
from roles.gateway.callers import caller_of
from roles.gateway.config import GatewayConfig
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.ownership import Owned, user_of, whose
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.queries import read_query
from roles.gateway.submission import INTEGER_MAX

_UPLOADS = "/api/v2/uploads"
_ONE = f"{_UPLOADS}/<upload:str>"
_BYTES = "application/octet-stream"
_OFFSET = "Upload-Offset"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
#: Of any gateway; what this one takes is `--max-blob`.
_MOST_BYTES = 1 << 40
#: Text of an offset: more digits than any size has.
_DIGITS = 19


class UploadSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is going to be sent."""

    #: Of all bytes.
    size: Annotated[int, Meta(ge=0, le=_MOST_BYTES)]
    #: What they must turn out to be.
    sha256: Annotated[str, Meta(pattern="^(sha256:)?[0-9a-f]{64}$")] | None = None
    #: Whose upload it is; None: of who asks.
    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None


_decoder = msgspec.json.Decoder(UploadSpec)


class UploadsQuery(Struct, frozen=True, kw_only=True):
    #: Whose; None: of who asks.
    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None


class UploadRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and what they need."""

    client: JudicatorClient
    config: GatewayConfig
    budget: Budget
    #: What was left of requests that broke off, on its way to the store.
    saving: set[asyncio.Task[object]] = msgspec.field(default_factory=set)

    @declare(
        Operation(
            method="POST",
            path=_UPLOADS,
            owned=Owned.USER,
            tag="Blobs",
            request={JSON: UploadSpec},
            answers={201: Answer(v2.Upload, headers=("Location",))},
            problems=(ProblemCode.VALIDATION_FAILED, ProblemCode.QUOTA_EXCEEDED),
        )
    )
    async def begin_upload(self, request: Request) -> HTTPResponse:
        """Begin to send a blob bit by bit."""
        try:
            given = parse_document(_decoder, request.body)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        if given.size > self.config.max_blob_bytes:
            raise blob_too_large(self.config.max_blob_bytes)
        new = NewUpload(
            id=UploadId(mint_task_id()),
            user=user_of(caller_of(request), given.user),
            size_bytes=given.size,
            sha256=parse_blob_name(given.sha256, field="sha256") if given.sha256 else None,
        )
        return _answer(201, await self.client.open_upload(new), location=True)

    @declare(
        Operation(
            method="GET",
            path=_UPLOADS,
            tag="Blobs",
            query=UploadsQuery,
            answers={200: Answer(v2.Uploads)},
        )
    )
    async def list_uploads(self, request: Request) -> HTTPResponse:
        """List a user's uploads that have not become a blob: to go on with one, or to give it
        up."""
        given = read_query(request, UploadsQuery).user
        found = await self.client.list_uploads(whose(caller_of(request), given))
        body = v2.encode(v2.Uploads(items=[_view(each) for each in found]))
        return HTTPResponse(body, headers=_HEADERS, content_type=JSON)

    @declare(
        Operation(
            method="GET",
            path=_ONE,
            tag="Blobs",
            answers={200: Answer(v2.Upload, headers=(_OFFSET,))},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_upload(self, _: Request, upload: str) -> HTTPResponse:
        """Ask how far an upload has come; HEAD will do."""
        return _answer(200, await self.client.get_upload(parse_upload_id(upload)))

    @declare(
        Operation(
            method="PATCH",
            path=_ONE,
            owned=Owned.UPLOAD,
            tag="Blobs",
            headers=(_OFFSET,),
            request={_BYTES: None},
            body_optional=True,
            answers={
                201: Answer(v2.Blob, headers=(_OFFSET, "Location")),
                204: Answer(content="", headers=(_OFFSET,)),
            },
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.OFFSET_DIFFERS,
                ProblemCode.VALIDATION_FAILED,
            ),
            stream=True,
        )
    )
    async def continue_upload(self, request: Request, upload: str) -> HTTPResponse:
        """Send what follows `Upload-Offset`, as much of it as you like. 204 while more is to come;
        201 and the blob when all of it is there. 409 names the offset that is right."""
        try:
            known = await self.client.get_upload(parse_upload_id(upload))
            return await self._continue(request, known)
        except OffsetDiffers as error:
            await drop_body(request)
            known = await self.client.get_upload(parse_upload_id(upload))
            headers = {_OFFSET: str(known.offset)}
            return problem(Failure(status=409, error=error, headers=headers))
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        except KhalaError:
            await drop_body(request)
            raise

    async def _continue(self, request: Request, known: Upload) -> HTTPResponse:
        offset = _offset_of(request)
        if offset != known.offset:
            raise OffsetDiffers(
                f"{_OFFSET}: {known.offset} bytes of upload {known.id} are stored, {offset} was"
                " given",
                field=_OFFSET,
            )
        left = known.size_bytes - offset
        if request.headers.get("content-length") and announced_bytes(request, left) > left:
            raise _too_many(known)
        digest = hashlib.sha256()
        with self.budget.reserve(2 * BLOB_CHUNK_BYTES):
            cut = Cut(request, first_bytes=BLOB_CHUNK_BYTES - offset % BLOB_CHUNK_BYTES)
            try:
                async for piece in cut.pieces():
                    if known.offset + len(piece) > known.size_bytes:
                        raise _too_many(known)
                    digest.update(piece)
                    known = await self._append(known, piece)
            except (Rejected, asyncio.CancelledError):
                self._save(known, cut.waiting)
                raise
        if known.offset < known.size_bytes:
            return HTTPResponse(None, status=204, headers=_headers(known))
        name = BlobName(digest.hexdigest()) if not offset else None
        return _made(known, await self._finish(known, name))

    async def _append(self, known: Upload, piece: bytes) -> Upload:
        try:
            return await self.client.append_to_upload(known.id, known.offset, piece)
        except OffsetDiffers:
            # An answer was lost, and this is what a judicator says to the repetition.
            found = await self.client.get_upload(known.id)
            if found.offset != known.offset + len(piece):
                raise
            return found

    def _save(self, known: Upload, rest: bytes) -> None:
        """In the background: its sender has gone. What cannot be stored is sent again."""
        if not rest or known.offset + len(rest) > known.size_bytes:
            return

        async def save() -> None:
            try:
                await self.client.append_to_upload(known.id, known.offset, rest)
            except KhalaError:
                return

        task: asyncio.Task[object] = asyncio.ensure_future(save())
        self.saving.add(task)
        task.add_done_callback(self.saving.discard)

    async def _finish(self, known: Upload, name: BlobName | None) -> BlobName:
        """`name` is that of the bytes, if they were seen. May be repeated, by any gateway."""
        if known.blob is not None and await self.client.touch_blobs([known.blob]):
            return known.blob
        name = name or await self._hash(known)
        if known.sha256 is not None and name != known.sha256:
            await self.client.drop_upload(known.id)
            raise Invalid([_other_bytes(known.sha256, name)])
        # First this, then the blob: an upload that is given up meanwhile takes no blob's bytes.
        await self.client.close_upload(known.id, name)
        new = NewBlob(name=name, size_bytes=known.size_bytes, upload=known.id)
        await self.client.add_blob(new)
        return name

    async def _hash(self, known: Upload) -> BlobName:
        digest = hashlib.sha256()
        size = 0
        async with self.client.read_upload(known.id) as pieces:
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
        if size != known.size_bytes:
            raise NotFound(f"the bytes of upload {known.id} are gone; begin another one")
        return BlobName(digest.hexdigest())

    @declare(
        Operation(
            method="DELETE",
            path=_ONE,
            owned=Owned.UPLOAD,
            tag="Blobs",
            answers={204: Answer(content="")},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def drop_upload(self, _: Request, upload: str) -> HTTPResponse:
        """Give an upload up. What has become a blob stays one."""
        await self.client.drop_upload(parse_upload_id(upload))
        return HTTPResponse(None, status=204, headers=_HEADERS)


def _offset_of(request: Request) -> int:
    text: str = request.headers.get(_OFFSET, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise Rejected(
            f"{_OFFSET}: the number of bytes that are stored already is expected, {text[:40]!r} was"
            " given; GET says it",
            field=_OFFSET,
        )
    return int(text)


def _too_many(known: Upload) -> Rejected:
    return Rejected(
        f"body: upload {known.id} was begun with a size of {known.size_bytes} bytes, and there are"
        " more; begin another one",
        field="body",
    )


def _other_bytes(expected: BlobName, found: BlobName) -> Issue:
    return Issue(
        pointer="/sha256",
        code=IssueCode.INVALID_VALUE,
        detail=f"the bytes that arrived have the SHA-256 {found}, not {expected}; nothing was kept",
        limit=expected,
        given=found,
    )


def _headers(known: Upload) -> dict[str, str]:
    return {**_HEADERS, _OFFSET: str(known.offset)}


def _answer(status: int, known: Upload, *, location: bool = False) -> HTTPResponse:
    body = _view(known)
    headers = _headers(known) | ({"Location": f"{_UPLOADS}/{known.id}"} if location else {})
    return HTTPResponse(v2.encode(body), status=status, headers=headers, content_type=JSON)


def _view(known: Upload) -> v2.Upload:
    return v2.Upload(
        id=known.id,
        offset=known.offset,
        size=known.size_bytes,
        expires_at=v2.stamp(known.expires_at),
        sha256=known.sha256,
        blob=f"{PREFIX}{known.blob}" if known.blob else None,
    )


def _made(known: Upload, name: BlobName) -> HTTPResponse:
    body = v2.Blob(blob=f"{PREFIX}{name}", size=known.size_bytes)
    headers = {**_headers(known), "Location": f"{BLOBS}/{name}"}
    return HTTPResponse(v2.encode(body), status=201, headers=headers, content_type=JSON)
