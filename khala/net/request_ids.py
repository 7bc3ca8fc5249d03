"""One name for a request on its whole way: in the answer, in every log line, at the judicator.

A client may bring its own (`X-Request-Id`); otherwise the first process that meets the request
gives it one. It names, and decides nothing.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import structlog
from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse

HEADER = "X-Request-Id"
_KEY = "request_id"
#: What may go into headers and logs as it came; anything else is replaced.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}\Z")


def register(app: Sanic[Any, Any]) -> None:
    """Call it before any other middleware is registered, so that refusals have an id too."""
    app.register_middleware(_take, "request")
    app.register_middleware(_show, "response")


def current() -> str:
    """Of the request that is being answered; empty outside of one."""
    return str(structlog.contextvars.get_contextvars().get(_KEY, ""))


async def _take(request: Request) -> None:
    given = request.headers.get(HEADER, "")
    name = given if _ID.match(given) else secrets.token_hex(8)
    request.ctx.request_id = name
    # A connection serves one request after the other in one task, and so in one context.
    structlog.contextvars.bind_contextvars(**{_KEY: name})


async def _show(request: Request, response: BaseHTTPResponse) -> None:
    """What could not be read as a request has no id."""
    if name := getattr(request.ctx, "request_id", ""):
        response.headers[HEADER] = name
