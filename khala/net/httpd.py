"""The HTTP server that gateways and judicators embed.

Sanic runs inside our own event loop: no worker manager (it would own the signals and spawn
processes), no generated pages, no settings out of its own environment variables. What is decided
here, once for every role:

- Each failure becomes one of the families of `khala.model.errors` and is rendered by the role. A
  defect is logged with its traceback and answered without it.
- Every GET route answers HEAD, every path answers OPTIONS, a wrong method is 405 with `Allow`.
- A bind that fails is the operator's to correct, so it is `Rejected` and names the flag.
- A body has a limit before it is read. Nothing may wait for ever on a silent peer.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import resource
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

import structlog
from msgspec import Struct
from sanic import Request, Sanic
from sanic import exceptions as sanic_errors
from sanic.config import Config
from sanic.handlers import ErrorHandler
from sanic.http import Http
from sanic.response import HTTPResponse
from sanic.server import AsyncioServer

from khala.model.errors import (
    InvariantBroken,
    KhalaError,
    NotFound,
    RateLimited,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.model.limits import FRAME_BYTES
from khala.net import request_ids
from khala.net.statuses import status_of

log = structlog.get_logger()

App: TypeAlias = Sanic[Config, SimpleNamespace]
#: Told of each answer: its route (method and pattern), status, and the seconds it took.
Observer: TypeAlias = Callable[[str, int, float], None]
Handler: TypeAlias = Callable[..., Coroutine[object, object, HTTPResponse | None]]

#: A peer that neither sends nor reads for this long is dropped; longer than any long poll.
SILENCE_S = 75.0
KEEP_ALIVE_S = 75.0
KEEP_ALIVE_PROBE_S = 15
#: The first bytes of a request until its header is complete.
HEADER_S = 20.0
HEADER_BYTES = 16 * 1024
#: A connection that closed while its answer was being written: nobody is there to read another.
_GONE = (sanic_errors.RequestCancelled, asyncio.CancelledError)
_numbers = itertools.count(1)


class Failure(Struct, frozen=True, kw_only=True):
    """An error on its way to a client."""

    status: int
    error: KhalaError
    #: Headers that belong to the status (`Allow`, `Retry-After`).
    headers: dict[str, str] = {}


Renderer: TypeAlias = Callable[[Request, Failure], HTTPResponse]

RETRY_AFTER_S = 1
#: What may be repeated later as it is.
_REPEATABLE = frozenset({429, 503})


def failure_of(error: KhalaError) -> Failure:
    """Status and headers of an error of ours; one without a family is a defect: 500."""
    status = status_of(error)
    if status not in _REPEATABLE:
        return Failure(status=status, error=error)
    wait_s = error.retry_after_s if isinstance(error, RateLimited) else RETRY_AFTER_S
    return Failure(status=status, error=error, headers={"Retry-After": str(wait_s)})


class _Errors(ErrorHandler):
    """Every exception of a handler, of the router or of the protocol ends here."""

    def __init__(self, render: Renderer) -> None:
        super().__init__()
        self._render = render

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        return self._render(request, _explain(request, exception))


def _explain(request: Request, exception: BaseException) -> Failure:
    if isinstance(exception, KhalaError):
        failure = failure_of(exception)
        if failure.status == 500:
            _log_defect(request, exception)
        return failure
    if isinstance(exception, _GONE):
        return failure_of(Unavailable("the connection was closed"))
    if isinstance(exception, sanic_errors.SanicException):
        return _explain_protocol(request, exception)
    _log_defect(request, exception)
    return failure_of(KhalaError("an internal error; the log of this process has the details"))


def _explain_protocol(request: Request, exception: sanic_errors.SanicException) -> Failure:
    if isinstance(exception, sanic_errors.NotFound):
        return failure_of(NotFound(f"there is nothing at {request.path[:200]}"))
    if isinstance(exception, sanic_errors.MethodNotAllowed):
        allow = ", ".join(sorted(exception.headers.get("Allow", "").split(", ")))
        error = Rejected(f"{request.method} is not possible here, only {allow}")
        return Failure(status=405, error=error, headers={"Allow": allow})
    if isinstance(exception, sanic_errors.PayloadTooLarge):
        config = request.app.config
        part, bound = "body", config.REQUEST_MAX_SIZE
        if "header" in str(exception).lower():
            part, bound = "header", config.REQUEST_MAX_HEADER_SIZE
        return failure_of(TooLarge(f"{part}: this address takes {bound} bytes at the most"))
    if isinstance(exception, sanic_errors.ServiceUnavailable):
        return failure_of(Unavailable("no answer could be given in time"))
    if 400 <= exception.status_code < 500:
        return Failure(status=exception.status_code, error=Rejected(str(exception)))
    _log_defect(request, exception)
    return failure_of(KhalaError("an internal error; the log of this process has the details"))


def _log_defect(request: Request, exception: BaseException) -> None:
    log.error("http.defect", method=request.method, path=request.path, exc_info=exception)


#: Answered to anybody, by any address, with a word or two.
PROBES = frozenset({"/livez", "/readyz", "/startupz", "/leader", "/version"})


def keep_open(request: Request) -> None:
    """An answer that has nothing to say for a while, and no way to say that it is alive: its
    silence starts anew. Whether the other end is there is left to TCP."""
    protocol: Any = request.protocol
    protocol._time = time.monotonic()  # there is no public way
    connection = protocol.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_PROBE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_PROBE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def hang_up(request: Request) -> None:
    """End the connection at once, whatever is still to be sent."""
    protocol: Any = request.protocol
    protocol.transport.abort()


def probe(status: int, text: str) -> HTTPResponse:
    """A line for load balancers and people."""
    return HTTPResponse(
        text + "\n",
        status=status,
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
        content_type="text/plain; charset=utf-8",
    )


def say_ready(warnings: Sequence[str]) -> HTTPResponse:
    """Ready, whatever an operator should know beside it."""
    return probe(200, "\n".join(["ready", *(f"warning: {text}" for text in warnings)]))


class Routes:
    """Collects an app's routes, so that each path knows every method it has."""

    def __init__(self, app: App, observe: Observer | None = None) -> None:
        self._app = app
        self._observe = observe
        self._methods: dict[str, list[str]] = defaultdict(list)

    def add(self, method: str, path: str, handler: Handler, *, stream: bool = False) -> None:
        """`stream` leaves the body unread: the handler reads and bounds it itself."""
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        name = f"{method} {path}".translate(_PLAIN)
        if self._observe is not None:
            handler = _observed(handler, f"{method} {path}", self._observe)
        if stream:
            handler = _function_of(handler)
        self._app.add_route(handler, path, methods=methods, name=name, stream=stream)
        self._methods[path] += methods

    def finish(self) -> None:
        """Add the OPTIONS handlers; call it once, after the last route."""
        for path, methods in self._methods.items():
            handler = _options_handler(", ".join([*methods, "OPTIONS"]))
            name = f"OPTIONS {path}".translate(_PLAIN)
            self._app.add_route(handler, path, methods=["OPTIONS"], name=name)


def _observed(handler: Handler, route: str, observe: Observer) -> Handler:
    async def timed(request: Request, *args: object, **fields: object) -> HTTPResponse | None:
        started = time.monotonic()
        status = 500
        try:
            response = await handler(request, *args, **fields)
            status = response.status if response is not None else 200
        except KhalaError as error:
            status = failure_of(error).status
            raise
        except _GONE:
            status = 499  # as proxies log it: the client went away
            raise
        finally:
            observe(route, status, time.monotonic() - started)
        return response

    return timed


#: Sanic builds regular expressions out of route names' parts; letters and underscores are safe.
_PLAIN = {ord(char): "_" for char in " /<>:.-"}


def _function_of(handler: Handler) -> Handler:
    """Sanic marks the handlers of streams with an attribute, which methods cannot have."""

    async def answer(request: Request, **arguments: object) -> HTTPResponse | None:
        return await handler(request, **arguments)

    return answer


def _options_handler(allow: str) -> Handler:
    async def answer_options(_: Request, **__: object) -> HTTPResponse:
        return HTTPResponse("", headers={"Allow": allow}, content_type="text/html; charset=utf-8")

    return answer_options


def create_app(role: str, render: Renderer, *, body_bytes: int) -> App:
    """An app without routes. `body_bytes` bounds the bodies of routes that do not stream."""
    config = Config(env_prefix="")
    config.AUTO_EXTEND = False
    config.ACCESS_LOG = False
    config.MOTD = False
    # Strips the hooks that nothing uses from the path of every request, once per process: Sanic
    # rewrites its own methods for that, and cannot rewrite them twice.
    config.TOUCHUP = not getattr(Http, "__touched__", False)
    config.USE_UVLOOP = False  # the loop is ours; Sanic must not change the policy
    config.KEEP_ALIVE_TIMEOUT = int(KEEP_ALIVE_S)
    config.REQUEST_TIMEOUT = int(HEADER_S)
    config.RESPONSE_TIMEOUT = int(SILENCE_S)
    config.REQUEST_MAX_HEADER_SIZE = HEADER_BYTES
    config.REQUEST_MAX_SIZE = body_bytes
    config.WEBSOCKET_MAX_SIZE = 2 * FRAME_BYTES
    config.WEBSOCKET_PING_INTERVAL = 0  # heartbeats of our own carry more
    # Tests run several apps in one process, and Sanic wants their names to differ.
    app: App = Sanic(
        f"{role}-{next(_numbers)}", config=config, configure_logging=False, strict_slashes=True
    )
    app.error_handler = _Errors(render)
    request_ids.register(app)
    # What Sanic logs of a failed request is logged by `_explain`, once and with its context.
    for name in ("sanic.root", "sanic.error", "sanic.server", "sanic.websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return app


class Bind(Struct, frozen=True, kw_only=True):
    host: str
    #: 0 picks a free one.
    port: int
    #: The setting to name when the port cannot be had.
    flag: str
    tls: ssl.SSLContext | None = None


class Server:
    """A listening app; `close` lets requests under way end."""

    def __init__(self, app: App, inner: AsyncioServer, port: int) -> None:
        self._app = app
        self._inner = inner
        self.port = port

    async def close(self, grace_s: float) -> None:
        """Stop listening, end idle connections, and give the others `grace_s` to finish."""
        await self._inner.before_stop()  # type: ignore[no-untyped-call]
        listener = self._inner.server
        if listener is not None:
            listener.close()
        deadline = time.monotonic() + grace_s
        connections = self._inner.connections
        while connections and time.monotonic() < deadline:
            for connection in list(connections):
                connection.close_if_idle()
            await asyncio.sleep(0.02)
        for connection in list(connections):
            connection.abort()
        await self._inner.after_stop()  # type: ignore[no-untyped-call]
        Sanic.unregister_app(self._app)


async def serve(app: App, bind: Bind) -> Server:
    """Listen; raise `Rejected`, naming the flag, if the address cannot be had."""
    _raise_file_limit()
    listener = _listen(bind)
    inner = await app.create_server(sock=listener, ssl=bind.tls, return_asyncio_server=True)
    if inner is None:
        raise InvariantBroken("Sanic returned no server")
    await inner.startup()  # type: ignore[no-untyped-call]
    await inner.before_start()  # type: ignore[no-untyped-call]
    await inner.after_start()  # type: ignore[no-untyped-call]
    await inner.start_serving()  # type: ignore[no-untyped-call]
    return Server(app, inner, listener.getsockname()[1])


def _raise_file_limit() -> None:
    """Each connection is a file, and the usual soft limit is less than our own bounds."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(bind: Bind) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        raise Rejected(
            f"{bind.flag}: {bind.host!r} is not an address of this host ({error})", field=bind.flag
        ) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise Rejected(_why_not(bind, error), field=bind.flag) from error
    return listener


def _why_not(bind: Bind, error: OSError) -> str:
    where = f"{bind.flag}: port {bind.port} of {bind.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program; stop it or give another port"
    if error.errno == errno.EACCES:
        return f"{where} is not allowed to user {os.geteuid()}; ports below 1024 need root"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: {bind.host} is not an address of this host"
    return f"{where}: {error.strerror}"
