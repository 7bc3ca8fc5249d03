"""`token create | ls | revoke`."""

from __future__ import annotations

from khala.config.settings import Settings
from khala.protocol.joining import MakeToken, TokenList, TokenMade
from roles.admin.asking import ask, audited, require_certificates
from roles.operators import tell_token, tell_tokens

_TOKENS = "/rpc/v1/tokens"


def create(settings: Settings, role: str, ttl_s: float, uses: int) -> int:
    require_certificates(settings)
    request = MakeToken(role=role, ttl_s=ttl_s, uses=uses)
    how = f"uses={uses} ttl={ttl_s:g}s"
    with audited(settings, "join_token.create", role, how):
        made = ask(settings, lambda client: client.ask("POST", _TOKENS, request, TokenMade))
    tell_token(made)
    return 0


def show(settings: Settings) -> int:
    require_certificates(settings)
    found = ask(settings, lambda client: client.ask("GET", _TOKENS, None, TokenList))
    tell_tokens(found.tokens)
    return 0


def revoke(settings: Settings, token: str) -> int:
    require_certificates(settings)
    empty = TokenList(tokens=[])
    path = f"{_TOKENS}/{token}"
    with audited(settings, "join_token.revoke", token):
        left = ask(settings, lambda client: client.ask("DELETE", path, empty, TokenList))
    tell_tokens(left.tokens)
    return 0
