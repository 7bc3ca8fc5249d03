"""The text of a token, and that none of it comes back in a message."""

from __future__ import annotations

import pytest

from khala.model.errors import Rejected
from khala.model.tokens import hash_secret
from khala.pki.authority import Authority
from khala.pki.token import hash_of, make_token, parse_token


def test_a_token_comes_back() -> None:
    authority = Authority.create("test").certificate
    token = make_token("executor", authority)
    assert parse_token(f" {token.show()}\n", source="--x") == token
    assert token.authority_hash == hash_of(authority) != hash_of(Authority.create("b").certificate)
    assert token.secret not in hash_secret(token.secret)
    assert make_token("executor", authority).secret != token.secret


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text.replace("KH1", "KH2"),
        lambda text: text.replace("::", ":"),
        lambda text: text.upper(),
        lambda _: "",
    ],
)
def test_anything_else_is_refused_without_repeating_it(spoil: object) -> None:
    token = make_token("gateway", Authority.create("test").certificate)
    assert callable(spoil)
    with pytest.raises(Rejected, match=r"^--x: not a join token") as caught:
        parse_token(spoil(token.show()), source="--x")
    assert token.secret[:-1] not in caught.value.message
