"""Backups that a judicator takes of the cluster and keeps on its own disk.

POST   /rpc/v1/backups               -> Backup, which is being taken
GET    /rpc/v1/backups               -> Backups, of the judicator that is asked alone
GET    /rpc/v1/backups/<id>          -> Backup
POST   /rpc/v1/backups/<id>/verify   -> Backup, which is being tried
GET    /rpc/v1/backups/<id>/archive  -> its bytes; ?first= and ?size= for a part
DELETE /rpc/v1/backups/<id>          -> Backup, as it was
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from khala.model.ids import JudicatorName


class BackupState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Saved(Struct, frozen=True, kw_only=True):
    """What `khala.pex backup create|verify --json` says."""

    tasks: int
    blobs: int


class Backup(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    judicator: JudicatorName
    state: BackupState
    created_at: datetime
    finished_at: datetime | None = None
    size_bytes: int = 0
    tasks: int = 0
    blobs: int = 0
    #: When it was last restored into a scratch MongoDB and counted.
    verified_at: datetime | None = None
    #: That is being done now.
    verifying: bool = False
    #: Why it failed, or why the last verification did.
    error: str = ""


class Backups(Struct, frozen=True, kw_only=True):
    #: The latest first.
    items: list[Backup]
