"""Errors across the RPC: what a judicator raised is what its caller sees raised.

The pair lives in one module because both ends must agree on it: a family that got lost on the
way would turn "retry later" into "do not retry", or the reverse.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import msgspec

from khala.model import errors
from khala.model.errors import KhalaError, OutcomeUnknown, Rejected
from khala.protocol.rpc import ErrorBody

if TYPE_CHECKING:
    # Only servers load Sanic; an executor is a client alone.
    from sanic import Request
    from sanic.response import HTTPResponse

    from khala.net.httpd import Failure

_CLASSES: dict[str, type[KhalaError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, KhalaError)
}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ErrorBody).decode


def render_rpc_failure(_: Request, failure: Failure) -> HTTPResponse:
    """The judicator's renderer."""
    from sanic.response import HTTPResponse

    return HTTPResponse(
        _encode(body_of(failure.error)),
        status=failure.status,
        headers=failure.headers,
        content_type="application/msgpack",
    )


def parse_rpc_failure(status: int, body: bytes) -> KhalaError:
    """The error that a judicator answered with. One without a family leaves open what happened."""
    try:
        answer = _decode(body)
    except msgspec.MsgspecError:
        return OutcomeUnknown(f"a judicator answered {status} without an explanation")
    return error_of(answer)


def body_of(error: KhalaError) -> ErrorBody:
    # Classes that only this side knows travel under the name of the family they belong to.
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _CLASSES)
    field = error.field if isinstance(error, Rejected) else None
    return ErrorBody(error=name, message=error.message, field=field)


def error_of(answer: ErrorBody) -> KhalaError:
    kind = _CLASSES.get(answer.error, KhalaError)
    if issubclass(kind, Rejected):
        return kind(answer.message, field=answer.field)
    if kind is KhalaError or kind is errors.InvariantBroken:
        return OutcomeUnknown(answer.message)
    return kind(answer.message)
