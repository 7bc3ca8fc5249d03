"""The files that tasks leave."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.outcome import Omission


class Artifact(Struct, frozen=True, kw_only=True):
    """A file that a task left."""

    #: Relative to the work directory; bytes that are no UTF-8 are U+FFFD here, not in `href`.
    name: str
    #: Where its bytes are.
    href: str
    size: int
    sha256: str
    executable: bool
    modified_at: datetime


class Blob(Struct, frozen=True, kw_only=True):
    """Bytes that tasks may name."""

    #: "sha256:" and 64 digits, as tasks name it.
    blob: str
    size: int


class Upload(Struct, frozen=True, kw_only=True):
    """Bytes that arrive bit by bit, until they are a blob."""

    id: str
    #: Bytes that are stored for good; the next one has this place.
    offset: int
    size: int
    #: What has not become a blob by then is gone.
    expires_at: datetime
    #: What its bytes are to be, as its sender said; null: nothing was said.
    sha256: str | None = None
    #: What it has become; null until then.
    blob: str | None = None


class Uploads(Struct, frozen=True, kw_only=True):
    """Those of a user that have not become a blob, the first of them first."""

    items: list[Upload]


class LeftOut(Struct, frozen=True, kw_only=True):
    """Files that were asked for and not kept."""

    reason: Omission
    count: int
    #: The first few.
    names: list[str]


class Artifacts(Struct, frozen=True, kw_only=True):
    """All files of a task."""

    files: list[Artifact]
    #: Of all files together.
    size: int
    left_out: list[LeftOut]


class ArtifactsSummary(Struct, frozen=True, kw_only=True):
    """How many files a task left; the list of them has an address of its own."""

    files: int
    size: int
    left_out: list[LeftOut]


class ArtifactsRequest(Struct, frozen=True, kw_only=True):
    """Which files were asked for."""

    collect: tuple[str, ...]
    max_total: int
    max_files: int
