"""How tokens are written: what is made can be shown, and nothing else can."""

from __future__ import annotations

import hashlib

import pytest

from khala.model.tokens import Shown, TokenKind, mint, parse_shown, seal


@pytest.mark.parametrize("kind", list(TokenKind))
def test_what_is_made_can_be_shown(kind: TokenKind) -> None:
    made = mint(kind)
    assert parse_shown(made.text) == Shown(kind, made.id, made.hash)
    secret = made.text.rpartition("_")[2]
    assert made.hash == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(parse_shown(made.text))
    assert mint(kind).id != made.id


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "a-token-that-is-long-enough",
        f"kh_pat_{'a' * 12}_{'b' * 63}",
        f"kh_pat_{'a' * 12}_{'b' * 65}",
        f"kh_pat_{'a' * 12}_{'B' * 64}",
        f"kh_pat_{'a' * 11}_{'b' * 64}",
        f"kh_key_{'a' * 12}_{'b' * 64}",
        f"kh_pat_{'a' * 12}_{'b' * 64}\n",
        f" kh_pat_{'a' * 12}_{'b' * 64}",
        "kh_pat_aaaaaaaaaaaa_" + "\u0660" * 64,
    ],
)
def test_nothing_else_can(text: str | None) -> None:
    assert parse_shown(text) is None


def test_a_seal_fits_one_secret_beside_one_token() -> None:
    one, other = (mint(TokenKind.TICKET).hash for _ in range(2))
    sealed = seal(one, "token")
    assert sealed == seal(one, "token")
    assert len({one, sealed, seal(other, "token"), seal(one, "other")}) == 4
