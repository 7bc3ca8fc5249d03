"""What operators do with a cluster as a whole, as methods of the blocking client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from khala.client.sync_access import BlockingAccess
from khala.client.uploads import Progress
from khala.protocol.v2 import (
    Backup,
    Backups,
    ClusterConfig,
    Collected,
    CreatedJoinToken,
    JoinToken,
    Transferred,
)


class BlockingOperations(BlockingAccess):
    """A part of `Khala`."""

    def collect(self, *, dry_run: bool) -> Collected:
        return self._do(self._inner.collect(dry_run=dry_run))

    def transfer_leadership(self, to: str | None = None) -> Transferred:
        return self._do(self._inner.transfer_leadership(to))

    def cluster_config(self) -> ClusterConfig:
        return self._do(self._inner.cluster_config())

    def set_quotas(
        self, quotas: Mapping[str, object], *, if_match: ClusterConfig | None = None
    ) -> ClusterConfig:
        return self._do(self._inner.set_quotas(quotas, if_match=if_match))

    def set_keeping(
        self, keeping: Mapping[str, object], *, if_match: ClusterConfig | None = None
    ) -> ClusterConfig:
        return self._do(self._inner.set_keeping(keeping, if_match=if_match))

    def join_tokens(self) -> list[JoinToken]:
        return self._do(self._inner.join_tokens())

    def create_join_token(
        self, role: str, *, expires_in: float | str = "1h", uses: int = 1
    ) -> CreatedJoinToken:
        return self._do(self._inner.create_join_token(role, expires_in=expires_in, uses=uses))

    def revoke_join_token(self, token: str) -> None:
        self._do(self._inner.revoke_join_token(token))

    def backups(self) -> Backups:
        return self._do(self._inner.backups())

    def create_backup(self, judicator: str | None = None) -> Backup:
        return self._do(self._inner.create_backup(judicator))

    def get_backup(self, backup: str) -> Backup:
        return self._do(self._inner.get_backup(backup))

    def verify_backup(self, backup: str) -> Backup:
        return self._do(self._inner.verify_backup(backup))

    def remove_backup(self, backup: str) -> None:
        self._do(self._inner.remove_backup(backup))

    def download_backup(self, backup: str, file: Path, *, progress: Progress | None = None) -> None:
        self._do(self._inner.download_backup(backup, file, progress=progress))
