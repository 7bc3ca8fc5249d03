"""Who may ask a judicator for what, by the certificate that is shown.

A new route is open to gateways and judicators and closed to executors, which run strangers'
programs: what they may do is listed here, and it is what they need. A cluster without
certificates has one secret for everybody, and nobody but its host's processes can connect.
"""

from __future__ import annotations

import re

from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Rejected
from khala.net.httpd import PROBES, App, Failure, Renderer
from khala.pki.node import EXECUTOR, GATEWAY, JUDICATOR, Peer, peer_of

#: Before there is a certificate: what proves the cluster, and what takes a token.
_OPEN = frozenset({"/rpc/v1/authority", "/rpc/v1/join"})
_EXECUTORS = re.compile(
    r"GET /rpc/v1/executor|GET /rpc/v1/cluster|GET /rpc/v1/tasks/[^/]+/parts/[^/]+"
    r"|GET /rpc/v1/blobs/[^/]+"
    r"|PUT /rpc/v1/outputs/.+|POST /rpc/v1/live|POST /rpc/v1/certificate"
    r"|PUT /rpc/v1/nodes/[^/]+/doctor/executor"
)
#: For judicators and their hosts' administrators, who have a judicator's certificate. What gateways
#: may ask of tokens and of retention is less than they may; its handlers see to that.
_JUDICATORS = re.compile(r"[A-Z]+ /rpc/v1/(?:members|epoch)(?:/.*)?")
#: What an executor alone does, in its own name.
_NOT_GATEWAYS = re.compile(
    r"GET /rpc/v1/executor|PUT /rpc/v1/outputs/.+|POST /rpc/v1/live"
    r"|PUT /rpc/v1/nodes/[^/]+/doctor/executor"
)


def may(role: str, method: str, path: str) -> bool:
    call = f"{'GET' if method == 'HEAD' else method} {path}"
    if role == JUDICATOR:
        return True
    if role == EXECUTOR:
        return _EXECUTORS.fullmatch(call) is not None
    closed = _JUDICATORS.fullmatch(call) or _NOT_GATEWAYS.fullmatch(call)
    return role == GATEWAY and not closed


def require_certificate(app: App, render: Renderer) -> None:
    """Every request of `app` must come with a certificate that allows it, its probes apart, and
    what a joiner asks."""

    async def check(request: Request) -> HTTPResponse | None:
        if request.path in PROBES or request.path in _OPEN:
            return None
        peer = caller_of(request)
        if peer is None:
            error = Rejected(
                "no certificate of this cluster was shown; join it with --join and"
                " --join-token-file (a judicator's host makes tokens: khala.pex token create)"
            )
            return render(request, Failure(status=401, error=error))
        if may(peer.role, request.method, request.path):
            return None
        error = Rejected(f"{peer.role} {peer.name} may not {request.method} {request.path[:200]}")
        return render(request, Failure(status=403, error=error))

    app.register_middleware(check, "request")


def caller_of(request: Request) -> Peer | None:
    """Whose verified certificate the connection has; looked up once for each connection."""
    connection = request.conn_info
    if connection is None or request.transport is None:
        return None
    if not hasattr(connection.ctx, "peer"):
        connection.ctx.peer = peer_of(request.transport.get_extra_info("peercert"))
    peer: Peer | None = connection.ctx.peer
    return peer
