"""What operators do with a cluster as a whole, as methods of the client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from khala.client.documents import DocumentCalls
from khala.client.transport import JSON, parse
from khala.protocol.v2 import (
    Backup,
    Backups,
    ClusterConfig,
    Collected,
    CreatedJoinToken,
    JoinToken,
    JoinTokens,
    Transferred,
)

_BACKUPS = "/api/v2/backups"
_JOIN_TOKENS = "/api/v2/cluster/join-tokens"


class OperatorCalls(DocumentCalls):
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
        """What judicators were told to keep and to bound, and what the gateway lets a task ask
        for."""
        return parse(ClusterConfig, await self._ask("GET", "/api/v2/cluster/config"))

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

    async def backups(self) -> Backups:
        """Those of all judicators, the latest first, and the judicators that could not be asked."""
        return parse(Backups, await self._ask("GET", _BACKUPS))

    async def create_backup(self, judicator: str | None = None) -> Backup:
        """One that is being taken; `get_backup` tells how it goes. Raise `NotPossible` while the
        judicator takes or tries another one, which a repeated request may meet, too."""
        return parse(Backup, await self._post(_BACKUPS, {"judicator": judicator}))

    async def get_backup(self, backup: str) -> Backup:
        return parse(Backup, await self._ask("GET", _backup(backup)))

    async def verify_backup(self, backup: str) -> Backup:
        """Let it be restored into a scratch MongoDB and counted, once more."""
        return parse(Backup, await self._ask("POST", f"{_backup(backup)}/verify"))

    async def remove_backup(self, backup: str) -> None:
        await self._ask("DELETE", _backup(backup))

    async def download_backup(self, backup: str, file: Path) -> None:
        """Its archive into a new file, whole or not at all, which only its owner can read: whoever
        reads it reads every task."""
        with open(file, "xb", opener=_private) as into:
            try:
                async with self._transport.open(f"{_backup(backup)}/archive", {}) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(into.write, piece)
            except BaseException:
                file.unlink(missing_ok=True)
                raise

    async def _post(self, path: str, document: Mapping[str, bool | float | str | None]) -> bytes:
        return await self._ask("POST", path, body=msgspec.json.encode(document), headers=JSON)


def _backup(backup: str) -> str:
    return f"{_BACKUPS}/{quote(backup, safe='')}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
