"""What is neither KV2's JSON nor a file of the UI: problem documents and small HTML pages."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import (
    AlreadyDone,
    Conflict,
    KhalaError,
    NoSuchBlob,
    NoSuchImage,
    NotFound,
    OutcomeUnknown,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.net.httpd import Failure
from khala.protocol import v2
from roles.gateway.issues import Invalid

NOSNIFF = {"X-Content-Type-Options": "nosniff"}

_CODES: tuple[tuple[type[KhalaError], str], ...] = (
    (NotFound, "not_found"),
    (NoSuchImage, "no_such_image"),
    (NoSuchBlob, "no_such_blob"),
    (TooLarge, "too_large"),
    (AlreadyDone, "already_done"),
    (Conflict, "idempotency_mismatch"),
    (Invalid, "validation_failed"),
    (Rejected, "invalid_request"),
    (Unavailable, "unavailable"),
    (OutcomeUnknown, "outcome_unknown"),
)
#: Statuses that say more than the error's family does.
_STATUS_CODES = {
    401: "unauthenticated",
    403: "forbidden",
    405: "method_not_allowed",
    415: "unsupported_media_type",
    421: "misdirected_request",
}


def problem(failure: Failure) -> HTTPResponse:
    error = failure.error
    code = _STATUS_CODES.get(failure.status) or next(
        (code for kind, code in _CODES if isinstance(error, kind)), "internal"
    )
    body = v2.Problem(
        title=_phrase(failure.status),
        status=failure.status,
        code=code,
        detail=error.message,
        field=_field_of(error),
        errors=error.issues if isinstance(error, Invalid) else [],
        type="about:blank",
    )
    return HTTPResponse(
        v2.encode(body),
        status=failure.status,
        headers={**NOSNIFF, "Cache-Control": "no-store", **failure.headers},
        content_type="application/problem+json",
    )


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
