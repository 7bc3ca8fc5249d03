"""How a process shows the judicators that it belongs to their cluster, and knows that they do.

There are two kinds of clusters. One that was made with `--init` has an authority: both sides show
certificates, and nothing else is needed or accepted. One on loopback alone has a secret in a file
that the host's user can read. Which one it is shows in the data directory, and may show late: an
executor can be started before the judicator of its host has made anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from khala.model.errors import Unavailable
from khala.net.secrets import SecretFile
from khala.pki.node import SERVER_NAME, NodeTls


class Credentials:
    """`find` looks for a certificate; until it finds one, and unless `secret` is there first, it
    is asked again."""

    def __init__(
        self, secret: SecretFile, find: Callable[[], NodeTls | None] = lambda: None
    ) -> None:
        self._secret = secret
        self._find = find
        self._identity: NodeTls | None = None
        self._decided = False

    @property
    def identity(self) -> NodeTls | None:
        """The certificate, if this is a cluster that has them."""
        if not self._decided:
            self._identity = self._find()
            self._decided = self._identity is not None or self._has_secret()
        return self._identity

    @property
    def decided(self) -> bool:
        """It is known which kind of cluster this is."""
        return self.identity is not None or self._decided

    def _has_secret(self) -> bool:
        try:
            self._secret.read()
        except Unavailable:
            return False
        return True

    def request(self, address: str, path: str) -> dict[str, Any]:
        """What an HTTP request is made with. Raise `Unavailable` while there is neither a
        certificate nor a secret."""
        identity = self.identity
        if identity is None:
            return {"url": f"http://{address}{path}", "headers": self._bearer()}
        return {
            "url": f"https://{address}{path}",
            "headers": {},
            "ssl": identity.client,
            "server_hostname": SERVER_NAME,
        }

    def socket(self, address: str, path: str) -> dict[str, Any]:
        """What a WebSocket is opened with; raise as `request` does."""
        identity = self.identity
        if identity is None:
            return {"uri": f"ws://{address}{path}", "additional_headers": self._bearer()}
        uri = f"wss://{address}{path}"
        return {"uri": uri, "ssl": identity.client, "server_hostname": SERVER_NAME}

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._secret.read()}"}
