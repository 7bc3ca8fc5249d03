"""Who may ask: the token, and the browser's part in keeping strangers out.

With a token, every call of the API needs it. Without one the gateway listens on a loopback
address only, but browsers of the same host can be talked into reaching it: a page on the web may
send forms to 127.0.0.1, and a name that an attacker controls may resolve to it. So an open gateway
answers only to its own names, and no gateway takes a change from another origin.
"""

from __future__ import annotations

import socket
from urllib.parse import parse_qsl, urlsplit

from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Rejected
from khala.net.auth import SESSION_COOKIE, Session, bearer_of
from khala.net.httpd import PROBES, App, Failure
from khala.net.secrets import SecretFile, same
from roles.gateway.config import GatewayConfig
from roles.gateway.pages import problem

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_GUARDED = ("/api/", "/metrics")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Guard:
    """Answers what must not reach a handler."""

    def __init__(self, config: GatewayConfig, token: SecretFile | None) -> None:
        self._token = token
        self._names = {
            *_LOOPBACK,
            *(name.lower() for name in (config.bind, socket.gethostname(), *config.host_names)),
        }

    def register(self, app: App) -> None:
        app.register_middleware(self.check, "request")

    async def check(self, request: Request) -> HTTPResponse | None:
        path = request.path
        if path in PROBES:
            return None
        if self._token is None and not self._is_own_name(request):
            return _refuse(
                421,
                "Host: this gateway answers to its own names only; add the name with --host-names,"
                " or configure a token",
            )
        if request.method not in _SAFE_METHODS and not _is_same_origin(request):
            return _refuse(403, "Origin: changes are taken from this gateway's own pages only")
        if self._token is None or not path.startswith(_GUARDED) or path == "/api/v2/session":
            return None
        if self._knows_token(request, self._token.read()):
            return None
        failure = Rejected(
            "this gateway needs a token: Authorization: Bearer <token>, or ?token=<token>"
        )
        return problem(Failure(status=401, error=failure, headers={"WWW-Authenticate": "Bearer"}))

    def _is_own_name(self, request: Request) -> bool:
        host = request.headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and name.lower().rstrip(".") in self._names

    def _knows_token(self, request: Request, token: str) -> bool:
        if same(bearer_of(request), token):
            return True
        if "token=" in request.query_string:
            given = dict(parse_qsl(request.query_string)).get("token")
            if same(given, token):
                return True
        if "cookie" not in request.headers:
            return False
        return same(request.cookies.get(SESSION_COOKIE), Session.of(token).value)


def _is_same_origin(request: Request) -> bool:
    """Programs say nothing of their origin; browsers do, and cannot be made to lie about it."""
    site: str | None = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin: str | None = request.headers.get("origin")
    if origin is None:
        return True
    host: str = request.headers.get("host", "")
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _refuse(status: int, message: str) -> HTTPResponse:
    return problem(Failure(status=status, error=Rejected(message)))
