"""Bytes that are named by their content: stored once, whoever sends them and however often.

A blob's name is the SHA-256 of its bytes, so two parts with one name are the same part, a copy that
anybody kept can be checked, and repeating an upload is harmless. What tasks need that is too large
for their documents lies here.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import NewType

from msgspec import Struct

from khala.model.errors import Rejected

#: 64 hex digits of SHA-256.
BlobName = NewType("BlobName", str)
#: One sending of a blob's bytes, an ObjectId in text. The chunks of two that send the same blob at
#: once never mix, nor do those of a blob that is being removed and of one that is coming back.
UploadId = NewType("UploadId", str)

#: A blob that no task and no job names is kept this long after it was last sent or asked for. Far
#: longer than an acceptance can take between its look at the blob and its document.
BLOB_AGE = timedelta(hours=24)

_NAME = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_UPLOAD = re.compile(r"[0-9a-f]{24}\Z")
PREFIX = "sha256:"


def parse_upload_id(text: str) -> UploadId:
    """Raise `Rejected` for anything else."""
    if not _UPLOAD.match(text):
        raise Rejected(f"upload: 24 digits of 0-9 and a-f; {text[:40]!r} is not", field="upload")
    return UploadId(text)


class NewBlob(Struct, frozen=True, kw_only=True):
    """A blob whose chunks are stored under `upload`."""

    name: BlobName
    size_bytes: int
    upload: UploadId


class BlobSizes(Struct, frozen=True, kw_only=True):
    """Of the blobs that were asked for those that are there."""

    sizes: dict[BlobName, int]


def name_of(data: bytes) -> BlobName:
    return BlobName(hashlib.sha256(data).hexdigest())


def parse_blob_name(text: str, *, field: str = "blob") -> BlobName:
    """With or without its prefix. Raise `Rejected` for anything else."""
    found = _NAME.match(text)
    if found is None:
        raise Rejected(
            f"{field}: a blob is named {PREFIX} and the 64 digits (0-9, a-f) of its SHA-256;"
            f" {text[:80]!r} is not",
            field=field,
        )
    return BlobName(found[1])
