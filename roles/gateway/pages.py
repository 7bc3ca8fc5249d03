"""What is neither KV2's JSON nor a file of the UI: problem documents and small HTML pages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from msgspec import Struct
from sanic import Request
from sanic.exceptions import ServerError
from sanic.response import HTTPResponse

from khala.model.errors import (
    AlreadyDone,
    AlreadyThere,
    Changed,
    Conflict,
    CountDiffers,
    Forbidden,
    KhalaError,
    LastAdmin,
    NoNetworkOffered,
    NoSuchBlob,
    NoSuchImage,
    NoSuchTask,
    NotDone,
    NotFound,
    NotPossible,
    NotWaiting,
    OffsetDiffers,
    OutcomeUnknown,
    QuotaExceeded,
    RateLimited,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.net import request_ids
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from roles.gateway.issues import Invalid

#: Where the codes are described.
PROBLEMS_PAGE = "/docs/problems"
NOSNIFF = {"X-Content-Type-Options": "nosniff"}

_CODES: tuple[tuple[type[KhalaError], ProblemCode], ...] = (
    (NotFound, ProblemCode.NOT_FOUND),
    (NoSuchImage, ProblemCode.NO_SUCH_IMAGE),
    (NoNetworkOffered, ProblemCode.NO_NETWORK_OFFERED),
    (NoSuchBlob, ProblemCode.NO_SUCH_BLOB),
    (NoSuchTask, ProblemCode.NO_SUCH_TASK),
    (TooLarge, ProblemCode.TOO_LARGE),
    (Forbidden, ProblemCode.FORBIDDEN),
    (AlreadyDone, ProblemCode.ALREADY_DONE),
    (LastAdmin, ProblemCode.LAST_ADMIN),
    (AlreadyThere, ProblemCode.ALREADY_THERE),
    (NotDone, ProblemCode.NOT_DONE),
    (CountDiffers, ProblemCode.COUNT_DIFFERS),
    (NotWaiting, ProblemCode.NOT_WAITING),
    (NotPossible, ProblemCode.NOT_POSSIBLE),
    (Changed, ProblemCode.PRECONDITION_FAILED),
    (OffsetDiffers, ProblemCode.OFFSET_DIFFERS),
    (QuotaExceeded, ProblemCode.QUOTA_EXCEEDED),
    (Conflict, ProblemCode.IDEMPOTENCY_MISMATCH),
    (Invalid, ProblemCode.VALIDATION_FAILED),
    (Rejected, ProblemCode.INVALID_REQUEST),
    (RateLimited, ProblemCode.RATE_LIMITED),
    (Unavailable, ProblemCode.UNAVAILABLE),
    (OutcomeUnknown, ProblemCode.OUTCOME_UNKNOWN),
)
#: Statuses that say more than the error's family does.
_STATUS_CODES = {
    401: ProblemCode.UNAUTHENTICATED,
    403: ProblemCode.FORBIDDEN,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    415: ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    421: ProblemCode.MISDIRECTED_REQUEST,
}


def listed(request: Request, page: Struct, headers: Mapping[str, str]) -> HTTPResponse:
    """A page of a list with a tag of its contents; 304 to whoever has it already."""
    body = v2.encode(page)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**NOSNIFF, "Cache-Control": "no-cache", "ETag": etag, **headers}
    if request.headers.get("if-none-match") == etag:
        return HTTPResponse(None, status=304, headers=headers)
    return HTTPResponse(body, headers=headers, content_type="application/json")


def problem(failure: Failure) -> HTTPResponse:
    return HTTPResponse(
        v2.encode(problem_of(failure)),
        status=failure.status,
        headers={**NOSNIFF, "Cache-Control": "no-store", **failure.headers},
        content_type="application/problem+json",
    )


def problem_of(failure: Failure) -> v2.Problem:
    error = failure.error
    code = _STATUS_CODES.get(failure.status) or next(
        (code for kind, code in _CODES if isinstance(error, kind)), ProblemCode.INTERNAL
    )
    return v2.Problem(
        title=title_of(code),
        status=failure.status,
        code=code,
        detail=error.message,
        field=_field_of(error),
        errors=error.issues if isinstance(error, Invalid) else [],
        type=f"{PROBLEMS_PAGE}#{code}",
        instance=_path(),
        request_id=request_ids.current(),
        retry_after_s=int(failure.headers["Retry-After"])
        if "Retry-After" in failure.headers
        else None,
    )


def title_of(code: ProblemCode) -> str:
    """The same for every problem of a type, as the standard asks for."""
    return str(code).replace("_", " ").capitalize()


def _path() -> str:
    """Of the request that is being answered, if it could be read as one."""
    try:
        return Request.get_current().path
    except ServerError:
        return ""


def _field_of(error: KhalaError) -> str | None:
    """Those of a document stand in its list of faults."""
    return error.field if isinstance(error, Rejected) and not isinstance(error, Invalid) else None


def error_page(failure: Failure) -> HTTPResponse:
    """The HTML that KV2's clients meet for a status without JSON."""
    phrase = _phrase(failure.status)
    body = (
        '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n'
        f"<title>{failure.status} {phrase}</title>\n"
        f"<h1>{phrase}</h1>\n"
        f"<p>{escape(failure.error.message)}</p>\n"
    )
    return HTTPResponse(
        body,
        status=failure.status,
        headers={
            **NOSNIFF,
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            **failure.headers,
        },
        content_type="text/html",
    )


def render_failure(request: Request, failure: Failure) -> HTTPResponse:
    """The gateway's renderer: programs of the second API get JSON, everybody else a page."""
    refused = failure.status in {401, 403, 421}
    if request.path.startswith("/api/v2/") or (refused and request.path.startswith("/api/")):
        return problem(failure)
    return error_page(failure)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
