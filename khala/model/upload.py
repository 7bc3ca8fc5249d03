"""A blob that arrives bit by bit: what of it is acknowledged stays, whoever is asked to go on.

An upload is known by its id, from whose date its end follows: its chunks are swept away with the
bytes of uploads that came to nothing, so what has not become a blob by then must not become one any
more.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from khala.model.blob import BLOB_AGE, BlobName, UploadId
from khala.model.ids import id_date

#: After its beginning. Well before its chunks may be taken for orphans.
UPLOAD_LIFE = BLOB_AGE - timedelta(hours=12)
#: That one user may have open at once.
OPEN_UPLOADS = 32


class NewUpload(Struct, frozen=True, kw_only=True):
    """What is going to be sent."""

    id: UploadId
    user: int
    size_bytes: int
    #: What the bytes must turn out to be; None: whatever they are.
    sha256: BlobName | None = None

    @property
    def expires_at(self) -> datetime:
        return id_date(self.id) + UPLOAD_LIFE


class Upload(NewUpload, frozen=True, kw_only=True):
    """How far it has come."""

    #: Bytes that are stored for good.
    offset: int = 0
    #: What it has become, once all bytes were there and hashed.
    blob: BlobName | None = None
