"""How a node becomes part of a cluster: over TLS, but before it has a certificate of its own.

GET    /rpc/v1/authority     -> the authority's certificate (PEM), to be checked by its hash
POST   /rpc/v1/join          JoinRequest -> JoinAnswer; a token instead of a certificate
POST   /rpc/v1/certificate   RenewRequest -> RenewAnswer; with the certificate it replaces
POST   /rpc/v1/tokens        MakeToken -> TokenMade
GET    /rpc/v1/tokens        -> TokenList
DELETE /rpc/v1/tokens/<id>   -> TokenList, of those that are left
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class JoinRequest(Struct, frozen=True, kw_only=True):
    token: str
    secret: str
    role: str
    name: str
    #: A certificate request in PEM; the key stays with the joiner.
    csr: bytes
    #: A judicator: under which addresses others reach it, the first one being the advertised.
    hosts: tuple[str, ...] = ()


class Shared(Struct, frozen=True, kw_only=True):
    """What judicators share, and nobody else gets."""

    authority_key: bytes
    mongodb_key: bytes
    replica_set: str


class JoinAnswer(Struct, frozen=True, kw_only=True):
    cluster: str
    certificate: bytes
    issued_at: datetime
    expires_at: datetime
    #: RPC addresses of the judicators that are there now.
    judicators: list[str]
    #: See `khala.protocol.members.Epoch`.
    epoch: int = 0
    shared: Shared | None = None


class RenewRequest(Struct, frozen=True, kw_only=True):
    csr: bytes


class RenewAnswer(Struct, frozen=True, kw_only=True):
    certificate: bytes
    issued_at: datetime
    expires_at: datetime


class MakeToken(Struct, frozen=True, kw_only=True):
    role: str
    ttl_s: float
    uses: int


class TokenRecord(Struct, frozen=True, kw_only=True):
    """A token as the cluster knows it, which is without its secret."""

    id: str
    role: str
    created_at: datetime
    expires_at: datetime
    uses: int
    uses_left: int


class TokenMade(Struct, frozen=True, kw_only=True):
    #: The whole token, once.
    token: str
    record: TokenRecord


class TokenList(Struct, frozen=True, kw_only=True):
    tokens: list[TokenRecord]
