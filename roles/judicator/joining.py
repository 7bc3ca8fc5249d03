"""The judicator's side of joining: tokens are made and taken, certificates signed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse, raw

from khala.model.errors import NotPossible, Rejected
from khala.model.ids import check_name
from khala.model.limits import JOIN_TOKEN_MAX_S, JOIN_TOKEN_MIN_S, JOIN_TOKEN_USES
from khala.net.httpd import Routes
from khala.pki.authority import Authority, Signed, Subject
from khala.pki.node import GATEWAY, JUDICATOR, ROLES, NodeTls, Peer
from khala.pki.token import make_token
from khala.protocol.joining import (
    JoinAnswer,
    JoinRequest,
    MakeToken,
    RenewAnswer,
    RenewRequest,
    Shared,
    TokenList,
    TokenMade,
)
from khala.store.tokens import MongoTokens, Use
from roles.judicator.access import caller_of

Body = TypeVar("Body")

#: A judicator's addresses: advertised, bound, host name, loopback.
HOSTS_MAX = 16
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")
_encode = msgspec.msgpack.Encoder().encode


class Terms(Struct, frozen=True, kw_only=True):
    """What certificates are signed under, and what judicators are told."""

    cluster: str
    life: timedelta
    replica_set: str
    epoch: int


class JoiningRoutes:
    """Only a cluster with an authority has them."""

    def __init__(
        self,
        identity: NodeTls,
        tokens: MongoTokens,
        terms: Terms,
        judicators: Callable[[], list[str]],
    ) -> None:
        self._identity = identity
        self._tokens = tokens
        self._terms = terms
        self._judicators = judicators
        self._authority = Authority.load(
            identity.authority_file.read_bytes(), identity.authority_key_file.read_bytes()
        )

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/authority", self.show_authority)
        routes.add("POST", "/rpc/v1/join", self.join)
        routes.add("POST", "/rpc/v1/certificate", self.renew)
        routes.add("POST", "/rpc/v1/tokens", self.make_token)
        routes.add("GET", "/rpc/v1/tokens", self.list_tokens)
        routes.add("DELETE", "/rpc/v1/tokens/<token:str>", self.revoke_token)

    async def show_authority(self, _: Request) -> HTTPResponse:
        return raw(self._authority.certificate, content_type="application/x-pem-file")

    async def join(self, request: Request) -> HTTPResponse:
        asked = _decode(request.body, JoinRequest)
        if asked.role not in ROLES:
            raise Rejected(f"role: one of {', '.join(ROLES)}; {asked.role[:40]!r} is not")
        check_name(asked.name)
        _check_hosts(asked.hosts)
        # Signed before the token is used up: what cannot be signed costs no use.
        signed = self._sign(
            asked.csr, Peer(cluster="", name=asked.name, role=asked.role), asked.hosts
        )
        await self._tokens.use(
            Use(
                token=asked.token,
                secret=asked.secret,
                role=asked.role,
                fingerprint=signed.fingerprint,
            )
        )
        return _answer(
            JoinAnswer(
                cluster=self._terms.cluster,
                certificate=signed.certificate,
                issued_at=signed.issued_at,
                expires_at=signed.expires_at,
                judicators=self._judicators(),
                epoch=self._terms.epoch,
                shared=self._shared() if asked.role == JUDICATOR else None,
            )
        )

    async def renew(self, request: Request) -> HTTPResponse:
        asked = _decode(request.body, RenewRequest)
        peer = caller_of(request)
        if peer is None or peer.role == JUDICATOR:
            raise Rejected("a judicator signs its own certificate")
        signed = self._sign(asked.csr, peer, ())
        return _answer(
            RenewAnswer(
                certificate=signed.certificate,
                issued_at=signed.issued_at,
                expires_at=signed.expires_at,
            )
        )

    def _sign(self, csr: bytes, peer: Peer, hosts: tuple[str, ...]) -> Signed:
        subject = Subject(cluster=self._terms.cluster, name=peer.name, role=peer.role, hosts=hosts)
        return self._authority.sign(csr, subject, self._terms.life)

    def _shared(self) -> Shared:
        return Shared(
            authority_key=self._authority.key,
            mongodb_key=self._identity.mongodb_key_file.read_bytes(),
            replica_set=self._terms.replica_set,
        )

    async def make_token(self, request: Request) -> HTTPResponse:
        asked = _decode(request.body, MakeToken)
        if asked.role not in ROLES:
            raise Rejected(f"--role: one of {', '.join(ROLES)}; {asked.role[:40]!r} is not")
        peer = caller_of(request)
        if asked.role == JUDICATOR and peer is not None and peer.role == GATEWAY:
            raise NotPossible(
                "role: judicators get the key that signs certificates, so a gateway makes no token"
                " for one; on a judicator's host: khala.pex token create --role judicator",
                field="role",
            )
        if not JOIN_TOKEN_MIN_S <= asked.ttl_s <= JOIN_TOKEN_MAX_S:
            raise Rejected(f"--ttl: from 1s to 30d; {asked.ttl_s:.0f} s was given", field="--ttl")
        if not 1 <= asked.uses <= JOIN_TOKEN_USES:
            raise Rejected(
                f"--uses: from 1 to {JOIN_TOKEN_USES}; {asked.uses} was given", field="--uses"
            )
        token = make_token(asked.role, self._authority.certificate)
        record = await self._tokens.add(token, timedelta(seconds=asked.ttl_s), asked.uses)
        return _answer(TokenMade(token=token.show(), record=record))

    async def list_tokens(self, _: Request) -> HTTPResponse:
        return _answer(TokenList(tokens=await self._tokens.list()))

    async def revoke_token(self, _: Request, token: str) -> HTTPResponse:
        await self._tokens.revoke(token)
        return _answer(TokenList(tokens=await self._tokens.list()))


class ClosedRoutes:
    """Of a cluster that nobody can join: it has no authority."""

    def register(self, routes: Routes) -> None:
        for method in ("GET", "POST"):
            routes.add(method, "/rpc/v1/tokens", self.refuse)
        routes.add("DELETE", "/rpc/v1/tokens/<token:str>", self.refuse)

    async def refuse(self, _: Request, **_arguments: str) -> HTTPResponse:
        raise NotPossible(
            "this cluster has no certificates, so no host can join it; one that has some is made"
            " with khala.pex judicator --init, in an empty --data-dir"
        )


def _check_hosts(hosts: tuple[str, ...]) -> None:
    if len(hosts) > HOSTS_MAX or not all(map(_HOST.match, hosts)):
        raise Rejected(f"hosts: up to {HOSTS_MAX} names or addresses", field="hosts")


def _decode(body: bytes, kind: type[Body]) -> Body:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Rejected(f"body: not a request of this version ({error})") from error


def _answer(body: Struct) -> HTTPResponse:
    return raw(_encode(body), content_type="application/msgpack")
