"""Who may ask an HTTP server of ours: whoever shows its secret, as a token or as a cookie."""

from __future__ import annotations

import hashlib
import hmac

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Rejected
from khala.net.httpd import PROBES, App, Failure, Renderer
from khala.net.secrets import SecretFile, same


def bearer_of(request: Request) -> str | None:
    """The token of `Authorization: Bearer ...`."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def require_secret(app: App, secret: SecretFile, render: Renderer) -> None:
    """Every request of `app` must carry the cluster's secret, its probes apart."""

    async def check(request: Request) -> HTTPResponse | None:
        if request.path in PROBES or same(bearer_of(request), secret.read()):
            return None
        error = Rejected("the cluster's secret is missing or wrong; see --secret-file")
        headers = {"WWW-Authenticate": "Bearer"}
        return render(request, Failure(status=401, error=error, headers=headers))

    app.register_middleware(check, "request")


SESSION_COOKIE = "khala_session"
SESSION_AGE_S = 30 * 24 * 3600


class Session(Struct, frozen=True, kw_only=True):
    """A browser's proof that it once knew the token. It dies with the token, and whoever steals
    the cookie does not learn the token."""

    value: str

    @classmethod
    def of(cls, token: str) -> Session:
        digest = hmac.new(token.encode(), b"khala session v1", hashlib.sha256)
        return cls(value=digest.hexdigest())

    def cookie(self, age_s: int) -> str:
        """For `Set-Cookie`."""
        return f"{SESSION_COOKIE}={self.value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict"


CLEAR_COOKIE = f"{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
