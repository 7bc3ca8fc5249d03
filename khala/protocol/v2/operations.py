"""What operators do with a cluster as a whole, as `/api/v2` takes and shows it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.protocol.backups import BackupState


class Kept(Struct, frozen=True, kw_only=True):
    """What is kept of the tasks that have ended; what is null bounds nothing."""

    #: Seconds since they ended.
    age_s: float | None
    #: The newest ones.
    count: int | None
    #: All of them together.
    size_bytes: int | None


class Collected(Struct, frozen=True, kw_only=True):
    """What went of the tasks that have ended, or would go."""

    #: Nothing went.
    dry_run: bool
    kept: Kept
    #: Those of jobs included.
    tasks: int
    #: Whole ones.
    jobs: int
    size_bytes: int
    #: Of the tasks: those that said themselves how long they stay.
    own: int = 0
    #: When the first and the last of them ended.
    oldest: datetime | None
    newest: datetime | None
    #: Older ones that stay: tasks wait for them, or a request may still be repeated with their key.
    needed: int
    #: Only so many were looked at; ask again.
    more: bool


class Transferred(Struct, frozen=True, kw_only=True):
    """Which judicator leads now."""

    #: Another than was asked for, if that one fell silent after it had agreed.
    leader: str
    before: str


class Backup(Struct, frozen=True, kw_only=True):
    """Everything that the cluster has stored, as one file on the disk of a judicator."""

    id: str
    #: On whose disk it is.
    judicator: str
    #: `running`, `done` or `failed`.
    state: BackupState
    created_at: datetime
    finished_at: datetime | None
    #: Of the archive; 0 until it is done, and so are the counts.
    size_bytes: int
    tasks: int
    blobs: int
    #: When it was last restored into a scratch MongoDB and counted; null: that failed.
    verified_at: datetime | None
    #: That is being done now.
    verifying: bool
    #: Why it failed, or why the last verification did.
    error: str | None


class Backups(Struct, frozen=True, kw_only=True):
    """Those of all judicators that could be asked."""

    #: The latest first.
    items: list[Backup]
    #: Judicators that could not be asked, by name: what they have is not in the list.
    unreachable: list[str]


class JoinToken(Struct, frozen=True, kw_only=True):
    """What a host joins the cluster with, without its secret."""

    #: No secret.
    id: str
    #: `executor`, `gateway` or `judicator`: what the host becomes.
    role: str
    created_at: datetime
    expires_at: datetime
    #: How many hosts it was made for, and for how many more it is good.
    uses: int
    uses_left: int


class JoinTokens(Struct, frozen=True, kw_only=True):
    """Those that can still be used."""

    #: The latest last.
    items: list[JoinToken]


class CreatedJoinToken(Struct, frozen=True, kw_only=True):
    """A new token. This answer alone has its secret."""

    #: The whole token, for the file that `--join-token-file` names.
    token: str
    record: JoinToken
