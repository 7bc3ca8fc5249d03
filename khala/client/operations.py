"""What operators do with a cluster as a whole, as methods of the client."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from khala.client.backups import BackupCalls
from khala.client.transport import JSON, parse
from khala.protocol.v2 import (
    ClusterConfig,
    Collected,
    CreatedJoinToken,
    JoinToken,
    JoinTokens,
    Transferred,
)

_CONFIG = "/api/v2/cluster/config"
_JOIN_TOKENS = "/api/v2/cluster/join-tokens"


class OperatorCalls(BackupCalls):
    """A part of `AsyncKhala`."""

    async def collect(self, *, dry_run: bool) -> Collected:
        """Remove what has ended and is not to be kept, or say what would go. Repeat it while there
        is `more`."""
        return parse(Collected, await self._post("/api/v2/gc", {"dry_run": dry_run}))

    async def transfer_leadership(self, to: str | None = None) -> Transferred:
        """Let a judicator lead, any other if it is not named. Raise `NotPossible` if it is not
        ready; `leader` is another one if it fell silent after it had agreed."""
        path = "/api/v2/cluster/transfer-leadership"
        return parse(Transferred, await self._post(path, {"to": to}))

    async def cluster_config(self) -> ClusterConfig:
        """What judicators were told to keep and to bound, what is set in the cluster of that, and
        what the gateway lets a task ask for."""
        return parse(ClusterConfig, await self._ask("GET", _CONFIG))

    async def set_quotas(
        self, quotas: Mapping[str, object], *, if_match: ClusterConfig | None = None
    ) -> ClusterConfig:
        """Change what is set in the cluster of quotas; the settings as they are then. A merge
        patch: `{"default": {"queued": 500}, "users": {"7": {"running": 4}, "8": None}}`, where 0 is
        no bound and None takes away what is set. Raise `Changed` if what is set is not any more as
        in `if_match`, which was read."""
        return await self._set("quotas", quotas, if_match)

    async def set_keeping(
        self, keeping: Mapping[str, object], *, if_match: ClusterConfig | None = None
    ) -> ClusterConfig:
        """Change what is set in the cluster of what it keeps; the settings as they are then. A
        merge patch: `{"retention": {"age_s": 86400}, "audit_s": None}`, where 0 is no bound and
        None takes away what is set. What keeps less than before begins a day later, at
        `keeping.less_from`. Raise `Changed` as `set_quotas`."""
        return await self._set("keeping", keeping, if_match)

    async def _set(
        self, what: str, patch: Mapping[str, object], known: ClusterConfig | None
    ) -> ClusterConfig:
        headers = {"Content-Type": "application/merge-patch+json"}
        if known is not None and known.quotas is not None:
            headers["If-Match"] = f'"{known.quotas.revision}"'
        body = msgspec.json.encode({what: patch})
        answer = await self._ask("PATCH", _CONFIG, body=body, headers=headers)
        return parse(ClusterConfig, answer)

    async def join_tokens(self) -> list[JoinToken]:
        """Those that hosts can still join with."""
        return parse(JoinTokens, await self._ask("GET", _JOIN_TOKENS)).items

    async def create_join_token(
        self, role: str, *, expires_in: float | str = "1h", uses: int = 1
    ) -> CreatedJoinToken:
        """For executors or gateways; raise `NotPossible` for judicators, whose tokens are made on a
        judicator's host. An answer that was lost leaves one that nobody has; it expires."""
        document = {"role": role, "expires_in": expires_in, "uses": uses}
        return parse(CreatedJoinToken, await self._post(_JOIN_TOKENS, document))

    async def revoke_join_token(self, token: str) -> None:
        """By its id. Hosts that have joined with it stay."""
        await self._ask("DELETE", f"{_JOIN_TOKENS}/{quote(token, safe='')}")

    async def _post(self, path: str, document: Mapping[str, bool | float | str | None]) -> bytes:
        return await self._ask("POST", path, body=msgspec.json.encode(document), headers=JSON)
