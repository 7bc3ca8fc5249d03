"""Blobs that a task document names: which there are, and the bytes of those that are needed here.

A blob that is a part as it is (standard input, an archive for the work directory itself) is passed
on by its name, however large it is. One that becomes a file among others of an archive is fetched,
because the archive is written here, and so is a tar archive, which is made into one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from msgspec import Struct

from khala.model.blob import BlobName, parse_blob_name
from khala.model.errors import Rejected, TooLarge, Unavailable
from khala.net.client import JudicatorClient
from roles.gateway.spec import ContentSpec, SourceSpec, TaskSpecV2


class KnownBlobs(Struct, frozen=True, kw_only=True):
    #: Of those that are stored.
    sizes: Mapping[BlobName, int] = {}
    #: Of those that are not parts as they are.
    contents: Mapping[BlobName, bytes] = {}


NO_BLOBS = KnownBlobs()


def is_whole_archive(given: tuple[SourceSpec, ...]) -> bool:
    """It is the part as it came; whether it can be unpacked shows where it is. A tar archive never
    is: executors know the other format alone."""
    return len(given) == 1 and given[0].unpack == "zip" and given[0].path == ""


async def load_blobs(client: JudicatorClient, spec: TaskSpecV2, limit_bytes: int) -> KnownBlobs:
    """Raise `TooLarge` if more than `limit_bytes` would have to be fetched."""
    whole = list(_whole(spec))
    named = list(_named(spec))
    if not named:
        return NO_BLOBS
    sizes = await client.touch_blobs({name for _, name in named})
    here = {
        name
        for content, name in named
        if name in sizes and not any(content is each for each in whole)
    }
    total = sum(sizes[name] for name in here)
    if total > limit_bytes:
        raise TooLarge(
            f"blobs: those that become files of an archive have {total} bytes, the limit is"
            f" {limit_bytes} (--max-body); send one zip archive, and unpack it without a path"
        )
    return KnownBlobs(sizes=sizes, contents={name: await _fetch(client, name) for name in here})


def _whole(spec: TaskSpecV2) -> Iterator[ContentSpec]:
    if spec.stdin is not None:
        yield spec.stdin
    if spec.expect is not None:
        yield spec.expect.stdout
    for given in (spec.sources, spec.data):
        if is_whole_archive(given):
            yield given[0]


def _named(found: object) -> Iterator[tuple[ContentSpec, BlobName]]:
    """Those with a name that can be one; what is wrong with others is told with the rest."""
    if isinstance(found, ContentSpec) and found.blob is not None:
        try:
            yield found, parse_blob_name(found.blob)
        except Rejected:
            return
    elif isinstance(found, Struct):
        for field in found.__struct_fields__:
            yield from _named(getattr(found, field))
    elif isinstance(found, tuple):
        for each in found:
            yield from _named(each)


async def _fetch(client: JudicatorClient, name: BlobName) -> bytes:
    async with client.open_blob(name) as pieces:
        data = b"".join([piece async for piece in pieces])
    if hashlib.sha256(data).hexdigest() != name:
        raise Unavailable(f"other bytes than those of blob {name} arrived from the judicator")
    return data
