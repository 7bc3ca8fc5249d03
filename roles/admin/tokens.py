"""`token create | ls | revoke`."""

from __future__ import annotations

import sys

from khala.config.settings import Settings
from khala.protocol.joining import MakeToken, TokenList, TokenMade, TokenRecord
from roles.admin.asking import ask, audited, require_certificates

_TOKENS = "/rpc/v1/tokens"


def create(settings: Settings, role: str, ttl_s: float, uses: int) -> int:
    """The token alone on stdout, so that it can go into a file; what it is on stderr."""
    require_certificates(settings)
    request = MakeToken(role=role, ttl_s=ttl_s, uses=uses)
    how = f"uses={uses} ttl={ttl_s:g}s"
    with audited(settings, "join_token.create", role, how):
        made = ask(settings, lambda client: client.ask("POST", _TOKENS, request, TokenMade))
    print(made.token)
    record = made.record
    print(
        f"for {record.uses} {role}{'s' * (record.uses > 1)}, until"
        f" {record.expires_at:%Y-%m-%d %H:%M:%S} UTC; on the new host:"
        f" khala.pex {role} --join HOST --join-token-file FILE",
        file=sys.stderr,
    )
    return 0


def show(settings: Settings) -> int:
    require_certificates(settings)
    found = ask(settings, lambda client: client.ask("GET", _TOKENS, None, TokenList))
    _print(found.tokens)
    return 0


def revoke(settings: Settings, token: str) -> int:
    require_certificates(settings)
    empty = TokenList(tokens=[])
    path = f"{_TOKENS}/{token}"
    with audited(settings, "join_token.revoke", token):
        left = ask(settings, lambda client: client.ask("DELETE", path, empty, TokenList))
    _print(left.tokens)
    return 0


def _print(tokens: list[TokenRecord]) -> None:
    print(f"{'ID':<14}{'ROLE':<11}{'LEFT':<9}UNTIL (UTC)")
    for each in tokens:
        left = f"{each.uses_left}/{each.uses}"
        print(f"{each.id:<14}{each.role:<11}{left:<9}{each.expires_at:%Y-%m-%d %H:%M:%S}")
