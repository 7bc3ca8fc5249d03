"""A new node's side of joining, and how a node's certificate is renewed.

The order is what keeps a token safe. First the joiner asks, believing nothing, for the authority's
certificate, and compares its hash with the token's; then it connects anew, believing that
authority alone, to a server that must be a judicator; only then does the secret leave. The key is
made here and written down before, so that a repetition after a lost answer counts as the same use.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import sys
import time
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from khala.model.dates import utc_now
from khala.model.errors import KhalaError, Rejected, Unavailable
from khala.net.calls import Calls
from khala.net.credentials import Credentials
from khala.net.rpc_errors import parse_rpc_failure
from khala.pki.node import SERVER_NAME, Certificate, NodeTls, write_secret
from khala.pki.token import PREFIX, Token, hash_of, parse_token
from khala.protocol.joining import JoinAnswer, JoinRequest, RenewAnswer, RenewRequest

log = structlog.get_logger()

FLAG = "--join-token-file"
_STDIN = "-"
_CALL_S = 15.0
#: A cluster that is just being started is waited for.
_PATIENCE_S = 60.0
_PAUSE_S = 1.0
_ANSWER_BYTES = 1 << 20
#: How often a process looks whether its certificate is due; a tenth of its life at the most.
WATCH_S = 60.0


class Joiner(Struct, frozen=True, kw_only=True):
    """Who wants to join whom."""

    addresses: tuple[str, ...]
    token_file: str | None
    role: str
    name: str
    hosts: tuple[str, ...] = ()


def join(joiner: Joiner, identity: NodeTls) -> JoinAnswer:
    """Get a certificate for `identity`. Raise `Rejected` with what to do, `Unavailable` if no
    judicator answers in time."""
    token = _read_token(joiner)
    deadline = time.monotonic() + _PATIENCE_S
    said = False
    while True:
        for address in joiner.addresses:
            try:
                return _join_at(address, joiner, token, identity)
            except Unavailable as error:
                failure = error
        if time.monotonic() > deadline:
            raise failure
        if not said:
            log.warning("join.waits", why=failure.message)
        said = True
        time.sleep(_PAUSE_S)


def _read_token(joiner: Joiner) -> Token:
    if joiner.token_file is None:
        raise Rejected(
            f"{FLAG}: joining the cluster at {', '.join(joiner.addresses)} needs a token; make one"
            f" on a judicator's host: khala.pex token create --role {joiner.role}",
            field=FLAG,
        )
    try:
        if joiner.token_file == _STDIN:
            text = sys.stdin.readline()
        else:
            text = Path(joiner.token_file).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(
            f"{FLAG}: {joiner.token_file} cannot be read: {error}", field=FLAG
        ) from error
    token = parse_token(text, source=FLAG)
    if token.role != joiner.role:
        raise Rejected(
            f"{FLAG}: the token is for role {token.role}, this is a {joiner.role}; make another:"
            f" khala.pex token create --role {joiner.role}",
            field=FLAG,
        )
    return token


def is_join_token(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return content.read(len(PREFIX)) == PREFIX.encode()
    except OSError:
        return False


def _join_at(address: str, joiner: Joiner, token: Token, identity: NodeTls) -> JoinAnswer:
    from khala.pki.authority import make_key, make_request

    authority = _fetch_authority(address, token)
    draft = identity.folder / "joining.key"
    if not draft.exists():
        write_secret(draft, make_key())
    key = draft.read_bytes()
    asked = JoinRequest(
        token=token.id,
        secret=token.secret,
        role=joiner.role,
        name=joiner.name,
        csr=make_request(key),
        hosts=joiner.hosts,
    )
    context = ssl.create_default_context(cadata=authority.decode("ascii"))
    body = request(address, "POST", "/rpc/v1/join", context, msgspec.msgpack.encode(asked))
    answer = _decode(body, JoinAnswer)
    write_secret(identity.authority_file, authority)
    identity.keep(
        key,
        answer.certificate,
        Certificate(
            cluster=answer.cluster,
            name=joiner.name,
            role=joiner.role,
            hosts=joiner.hosts,
            judicators=tuple(answer.judicators),
            issued_at=answer.issued_at,
            expires_at=answer.expires_at,
        ),
    )
    draft.unlink()
    log.info("node.joined", cluster=answer.cluster, role=joiner.role, name=joiner.name)
    return answer


def _fetch_authority(address: str, token: Token) -> bytes:
    """Over a connection that proves nothing; what comes is believed for its hash alone."""
    stranger = ssl.create_default_context()
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    authority = request(address, "GET", "/rpc/v1/authority", stranger, b"")
    try:
        found = hash_of(authority)
    except ValueError:
        found = "none"
    if found != token.authority_hash:
        raise Rejected(
            f"{FLAG}: the judicator at {address} is of another cluster than the token: its"
            f" authority has the hash {found[:12]}..., the token's {token.authority_hash[:12]}...;"
            " nothing secret was sent. Check --join, or make a token on that cluster",
            field=FLAG,
        )
    return authority


class _Connection(http.client.HTTPSConnection):
    """Insists on the name of a judicator, whatever the address is called."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=_CALL_S, context=context)
        self._tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=SERVER_NAME)


def request(address: str, method: str, path: str, context: ssl.SSLContext, body: bytes) -> bytes:
    """One call without an event loop. Raise what the judicator raised, or `Unavailable`."""
    host, _, port = address.rpartition(":")
    connection = _Connection(host.strip("[]"), int(port), context)
    try:
        connection.request(method, path, body=body or None)
        response = connection.getresponse()
        answer = response.read(_ANSWER_BYTES)
    except ssl.SSLCertVerificationError as error:
        raise Rejected(
            f"--join: {address} does not prove that it is a judicator of the token's cluster:"
            f" {error.verify_message}; nothing secret was sent",
            field="--join",
        ) from error
    except ssl.SSLError as error:
        raise Rejected(
            f"--join: {address} does not speak TLS as a judicator of a cluster with certificates"
            f" does ({error.reason}); was that cluster made with --init, and is this the RPC port?",
            field="--join",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"--join: judicator {address} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status >= 300:
        raise parse_rpc_failure(response.status, answer)
    return answer


def _decode(body: bytes, kind: type[JoinAnswer]) -> JoinAnswer:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"a judicator of another version answered: {error}") from error


async def keep_renewed(credentials: Credentials, calls: Calls) -> None:
    """Replace the certificate of a process, if it has one, when two thirds of its life are over;
    until cancelled. One that cannot be renewed now is tried again, and complained about."""
    while (identity := credentials.identity) is None:
        await asyncio.sleep(WATCH_S)
    while True:
        known = identity.certificate
        life_s = (known.expires_at - known.issued_at).total_seconds()
        await asyncio.sleep(min(WATCH_S, life_s / 10))
        if identity.refresh() or utc_now() < known.renew_at:
            continue
        try:
            await _renew(identity, known, calls)
        except (KhalaError, OSError) as error:
            log.warning(
                "certificate.not_renewed",
                why=str(error),
                expires_at=known.expires_at.isoformat(),
            )


async def _renew(identity: NodeTls, known: Certificate, calls: Calls) -> None:
    from khala.pki.authority import make_key, make_request

    key = make_key()
    request = RenewRequest(csr=make_request(key))
    answer = await calls.ask("POST", "/rpc/v1/certificate", request, RenewAnswer)
    certificate = msgspec.structs.replace(
        known, issued_at=answer.issued_at, expires_at=answer.expires_at
    )
    identity.keep(key, answer.certificate, certificate)
    identity.refresh()
    log.info("certificate.renewed", expires_at=certificate.expires_at.isoformat())
