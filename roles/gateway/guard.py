"""Who may ask: tokens, sessions, and the browser's part in keeping strangers out.

Nobody's word is taken for who they are. A personal token or a session is a judicator's to know; the
token that the gateway was started with makes an administrator without a name; and a gateway that
was given none is open, on a loopback address, for as long as the cluster has no users. Browsers of
the same host can be talked into reaching such a one: a page on the web may send forms to
127.0.0.1, and a name that an attacker controls may resolve to it. So an open gateway answers only
to its own names, and no gateway takes a change from another origin.

Addresses end up in logs and histories, so no token is taken out of one, but from KV2's clients and
monitors. A ticket is: it is used up by the request that shows it, and stands there for what its
maker showed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Identity, Role
from khala.model.errors import RateLimited, Rejected, Unavailable
from khala.model.tokens import Shown, TokenKind, parse_shown, seal
from khala.net.auth import SESSION_COOKIE, Session, bearer_of
from khala.net.httpd import PROBES, App, Failure, failure_of
from khala.net.secrets import SecretFile, same
from khala.protocol.access import UseTicket
from khala.protocol.v2 import KnownBy
from roles.gateway.bodies import drop_body
from roles.gateway.callers import Caller, note_caller
from roles.gateway.config import GatewayConfig, LegacyApi
from roles.gateway.identities import Identities
from roles.gateway.pages import problem
from roles.gateway.queries import TICKET
from roles.gateway.request_limit import RequestLimit

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_TICKET_METHODS = {"GET", "HEAD"}
_GUARDED = ("/api/", "/metrics")
_V2 = "/api/v2/"
_SESSION = "/api/v2/session"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TOKEN = "token"  # noqa: S105
#: How a token is shown below `_V2`.
_SHOW = (
    "Authorization: Bearer <token>, or where no header can be set ?ticket=<ticket>, of POST"
    " /api/v2/tickets"
)
FIRST_USER = "khala.pex user create NAME --role admin"
_KNOWN_BY = {TokenKind.PERSONAL: KnownBy.TOKEN, TokenKind.SESSION: KnownBy.SESSION}
_ADMIN = Identity(role=Role.ADMIN)
_BY_FILE = Caller(identity=_ADMIN, known_by=KnownBy.TOKEN_FILE)
_BY_LOOPBACK = Caller(identity=_ADMIN, known_by=KnownBy.OPEN)
#: Of KV2's addresses alone, where their operator leaves them open.
_BY_LEGACY = Caller(identity=Identity(role=Role.SUBMITTER), known_by=KnownBy.OPEN)


class Guard:
    """Answers what must not reach a handler, and notes who asks for the rest."""

    def __init__(
        self,
        config: GatewayConfig,
        token: SecretFile | None,
        identities: Identities,
        limit: RequestLimit | None,
    ) -> None:
        self._token = token
        self._users_only = config.users_only
        self._legacy = config.legacy_api
        self._identities = identities
        self._limit = limit
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
        legacy = path.startswith("/api/") and not path.startswith(_V2)
        if self._is_open(legacy=legacy) and not self._is_own_name(request):
            return _refuse(
                421,
                "Host: this gateway answers to its own names only; add the name with --host-names,"
                " or configure a token",
            )
        if request.method not in _SAFE_METHODS and not _is_same_origin(request):
            return _refuse(403, "Origin: changes are taken from this gateway's own pages only")
        in_address = _secrets_of_address(request)
        refused = _fault_of_address(request.method, in_address) if path.startswith(_V2) else None
        if refused is not None:
            return problem(Failure(status=400, error=refused))
        if not path.startswith(_GUARDED):
            return None
        if legacy and self._legacy is LegacyApi.OFF:
            return None  # there is no such address
        if path == _SESSION:
            # Whoever signs in is a stranger before, and a guess of a token is one here, too.
            limited = self._count(request, None)
            return problem(failure_of(limited)) if limited else None
        return await self._find(request, in_address, legacy=legacy)

    async def _find(
        self, request: Request, in_address: Mapping[str, str], *, legacy: bool
    ) -> HTTPResponse | None:
        """Note who asks, unless it is answered at once."""
        path = request.path
        try:
            caller = await self._identify(request, in_address, legacy=legacy)
        except RateLimited as error:
            return problem(failure_of(error))
        except Unavailable as error:
            if path.startswith(_V2):
                raise
            # KV2's clients and Prometheus have answers of their own to that.
            note_caller(request, error, self.still_holds)
            return None
        limited = self._count(request, caller)
        if isinstance(caller, Rejected):
            bearer = {"WWW-Authenticate": "Bearer"}
            failure = Failure(status=401, error=caller, headers=bearer)
            return problem(failure_of(limited) if limited else failure)
        if limited is not None:
            await drop_body(request)
            if not legacy:
                return problem(failure_of(limited))
        note_caller(request, limited or caller, self.still_holds)
        return None

    def _count(self, request: Request, caller: Caller | Rejected | None) -> RateLimited | None:
        """Why it is one request too many."""
        if self._limit is None:
            return None
        if not isinstance(caller, Caller):
            return self._limit.count_stranger(request)
        if not request.path.startswith("/api/"):
            return None  # a monitor sees what goes on, however much that is
        return self._limit.count_caller(request, caller)

    def _check_stranger(self, request: Request) -> None:
        """Before it is looked up what may be a guess. Raise `RateLimited`."""
        limited = self._limit.check_stranger(request) if self._limit else None
        if limited is not None:
            raise limited

    def _is_open(self, *, legacy: bool) -> bool:
        """Some who show nothing are let in."""
        if legacy and self._legacy is LegacyApi.OPEN:
            return True
        return self._token is None and not self._users_only

    def _is_own_name(self, request: Request) -> bool:
        host = request.headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and name.lower().rstrip(".") in self._names

    async def _identify(
        self, request: Request, in_address: Mapping[str, str], *, legacy: bool
    ) -> Caller | Rejected:
        """Raise `Unavailable` if nobody can say who asks, `RateLimited` if nobody is asked."""
        if request.path.startswith(_V2) and TICKET in in_address:
            self._check_stranger(request)
            return await self._by_ticket(in_address[TICKET])
        shown = None
        for text, kind in _given_in(request, in_address.get(_TOKEN)):
            if self._is_own_token(text, kind):
                return _BY_FILE
            given = parse_shown(text)
            if given is not None and given.kind is kind:
                shown = shown or given
        if shown is None and legacy and self._legacy is LegacyApi.OPEN:
            return _BY_LEGACY
        if shown is None and self._token is not None:
            return _needs_token()
        if shown is not None and not self._identities.knows(shown):
            self._check_stranger(request)
        found = await self._identities.find(shown)
        if shown is not None and found.identity is not None:
            known_by = _KNOWN_BY[shown.kind]
            return Caller(identity=found.identity, known_by=known_by, shown=shown)
        return self._nobody(shown, has_users=found.has_users, legacy=legacy)

    async def _by_ticket(self, text: str) -> Caller | Rejected:
        """It decides alone, whatever else is shown. One that was made with a gateway's own token is
        good at those that have the same, as long as they have it; one that was made with nothing is
        good where nothing is needed."""
        ticket = parse_shown(text)
        if ticket is None or ticket.kind is not TokenKind.TICKET:
            return _no_ticket()
        sealed = None if self._token is None else seal(ticket.hash, self._token.read())
        hashes = [ticket.hash] if sealed is None else [ticket.hash, sealed]
        used = await self._identities.use_ticket(UseTicket(id=ticket.id, hashes=hashes))
        if used.hash is None:
            return _no_ticket()
        if used.hash == sealed:
            return _BY_FILE
        if used.by is None:
            found = await self._identities.find(None)
            return self._nobody(None, has_users=found.has_users, legacy=False)
        if used.identity is None:
            return Rejected("what this ticket was made with has expired, or was revoked")
        return Caller(identity=used.identity, known_by=_KNOWN_BY[used.by.kind], shown=used.by)

    def _nobody(self, shown: Shown | None, *, has_users: bool, legacy: bool) -> Caller | Rejected:
        """Who shows nothing, or nothing that is known."""
        if legacy and self._legacy is LegacyApi.OPEN:
            return _BY_LEGACY
        if not has_users and self._users_only:
            return Rejected(f"there are no users yet; on a judicator's host: {FIRST_USER}")
        if not has_users and self._token is None:
            return _BY_LOOPBACK
        if shown is not None:
            return Rejected("this token is unknown, or it has expired or was revoked")
        return _needs_token()

    async def lets_anyone_in(self) -> bool:
        """Nobody needs a token. Raise `Unavailable` if nobody can say that."""
        if self._token is not None or self._users_only:
            return False
        return not (await self._identities.find(None)).has_users

    async def still_holds(self, caller: Caller) -> bool:
        """Of an answer that takes long. While nobody can say, it does."""
        if caller in (_BY_FILE, _BY_LEGACY):
            return True
        try:
            found = await self._identities.find(caller.shown)
        except Unavailable:
            return True
        return not found.has_users if caller.shown is None else found.identity is not None

    def _is_own_token(self, text: str, kind: TokenKind) -> bool:
        """The gateway's own, or in a cookie the session that was opened with it."""
        if self._token is None:
            return False
        token = self._token.read()
        return same(text, Session.of(token).value if kind is TokenKind.SESSION else token)


def _secrets_of_address(request: Request) -> dict[str, str]:
    """Those of the query; few requests have one."""
    if "token=" not in request.query_string and "ticket=" not in request.query_string:
        return {}
    given = dict(parse_qsl(request.query_string, keep_blank_values=True))
    return {name: given[name] for name in (_TOKEN, TICKET) if name in given}


def _fault_of_address(method: str, in_address: Mapping[str, str]) -> Rejected | None:
    """Of the second API."""
    if _TOKEN in in_address:
        return Rejected(
            f"token: addresses end up in logs, so none is taken out of this one; send {_SHOW}",
            field=_TOKEN,
        )
    if TICKET in in_address and method not in _TICKET_METHODS:
        return Rejected(
            f"ticket: it is good for GET and HEAD, not for {method}; send Authorization: Bearer"
            " <token>",
            field=TICKET,
        )
    return None


def _given_in(request: Request, in_address: str | None) -> Iterator[tuple[str, TokenKind]]:
    """All that a request shows, with what may stand there: a cookie holds no token itself."""
    bearer = bearer_of(request)
    if bearer is not None:
        yield bearer, TokenKind.PERSONAL
    if in_address is not None:
        yield in_address, TokenKind.PERSONAL
    if "cookie" in request.headers:
        cookie = request.cookies.get(SESSION_COOKIE)
        if cookie is not None:
            yield cookie, TokenKind.SESSION


def _needs_token() -> Rejected:
    return Rejected(
        f"this gateway needs a token: {_SHOW}; KV2's addresses and /metrics take ?token=<token>"
    )


def _no_ticket() -> Rejected:
    return Rejected(
        "this ticket is unknown here: it was used or has expired, or newer ones have taken its"
        " place; each is good for one request, make another one"
    )


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
