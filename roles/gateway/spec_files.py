"""The bytes of a task document: texts, base64, parts of the body, blobs, and archives of them."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TypeAlias

from khala.model.blob import BlobName, parse_blob_name
from khala.model.errors import Rejected
from khala.model.limits import SOURCES
from khala.protocol.v2 import IssueCode
from roles.gateway.archives import Entry, entries_of, entry_of, write_archive
from roles.gateway.issues import Issues, step
from roles.gateway.spec import ContentSpec, SourceSpec, TaskSpecV2
from roles.gateway.spec_blobs import KnownBlobs, is_whole_archive
from roles.gateway.submission import NAME_BYTES, check_file_name
from roles.gateway.tars import entries_of_tar

#: Bytes, or the name of a blob that is the whole of a part.
Content: TypeAlias = bytes | BlobName
_WAYS = ("text", "base64", "part", "blob")
_LISTED = f"{', '.join(_WAYS[:-1])} and {_WAYS[-1]}"


def inflates(spec: TaskSpecV2) -> bool:
    """Something small may become large here: it does not belong into the loop of the service."""
    return any(source.unpack == "tar" for source in (*spec.sources, *spec.data))


class Files:
    """Those of one request; faults go to `issues`, and what is returned is of no use then."""

    def __init__(self, parts: Mapping[str, bytes], blobs: KnownBlobs, issues: Issues) -> None:
        self._parts = parts
        self._blobs = blobs
        self._used: set[str] = set()
        self._issues = issues

    def whole(self, given: ContentSpec | None, pointer: str) -> Content:
        """A blob by its name: it is the part as it is."""
        if given is None:
            return b""
        content = self.content(given, pointer)
        if given.blob is None:
            return content
        with suppress(Rejected):
            return parse_blob_name(given.blob)
        return b""

    def content(self, given: ContentSpec, pointer: str) -> bytes:
        ways = [way for way in _WAYS if getattr(given, way) is not None]
        if len(ways) != 1:
            code = IssueCode.INVALID_VALUE if ways else IssueCode.MISSING_FIELD
            found = f"; {' and '.join(ways)} were given" if ways else ""
            self._issues.add(pointer, code, f"exactly one of {_LISTED}{found}")
            return b""
        if given.text is not None:
            return given.text.encode()
        if given.base64 is not None:
            return self._decoded(given.base64, f"{pointer}/base64")
        if given.blob is not None:
            return self._blob(given.blob, f"{pointer}/blob")
        return self._part(given.part or "", f"{pointer}/part")

    def _blob(self, text: str, pointer: str) -> bytes:
        """Nothing for one that is passed on by its name."""
        try:
            name = parse_blob_name(text)
        except Rejected as error:
            detail = error.message.partition(": ")[2]
            self._issues.add(pointer, IssueCode.INVALID_VALUE, detail, given=text)
            return b""
        if name not in self._blobs.sizes:
            detail = f"there is no such blob; send it with PUT /api/v2/blobs/{name}"
            self._issues.add(pointer, IssueCode.NO_SUCH_BLOB, detail, given=text)
        return self._blobs.contents.get(name, b"")

    def _decoded(self, text: str, pointer: str) -> bytes:
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            detail = f"this is not base64: {error}"
            self._issues.add(pointer, IssueCode.INVALID_VALUE, detail, given=text)
            return b""

    def _part(self, name: str, pointer: str) -> bytes:
        self._used.add(name)
        if name not in self._parts:
            known = ", ".join(sorted(self._parts)[:10]) or "none"
            detail = f"the body has no part of this name (there are: {known})"
            self._issues.add(pointer, IssueCode.INVALID_VALUE, detail, given=name)
        return self._parts.get(name, b"")

    def check_parts_used(self) -> None:
        for name in self._parts.keys() - self._used:
            detail = f"the body has a part {name[:60]!r} that the task does not mention"
            self._issues.add("", IssueCode.UNUSED_PART, detail, given=name)

    def archive(self, given: tuple[SourceSpec, ...], pointer: str) -> Content:
        if len(given) > SOURCES:
            detail = f"{len(given)} are more than {SOURCES}; send an archive and unpack it"
            self._issues.add(pointer, IssueCode.TOO_MANY, detail, limit=SOURCES, given=len(given))
            return b""
        if is_whole_archive(given):
            return self.whole(given[0], f"{pointer}/0")
        if not given:
            return b""
        try:
            return write_archive(self._entries(given, pointer))
        except ValueError as error:
            self._issues.add(pointer, IssueCode.TOO_MANY, str(error))
            return b""

    def _entries(self, given: tuple[SourceSpec, ...], pointer: str) -> Iterator[Entry]:
        names: set[str] = set()
        for index, source in enumerate(given):
            at = pointer + step(index)
            for entry in self._entries_of(source, at):
                if entry.name in names and not entry.name.endswith("/"):
                    detail = f"{entry.name[:200]!r} is given twice"
                    self._issues.add(at, IssueCode.DUPLICATE, detail, given=entry.name)
                    break
                names.add(entry.name)
                yield entry

    def _entries_of(self, source: SourceSpec, pointer: str) -> Iterator[Entry]:
        content = self.content(source, pointer)
        if source.path or source.unpack is None:
            try:
                check_file_name(source.path, "path")
            except Rejected as error:
                detail = error.message.partition(": ")[2]
                long = len(source.path.encode()) > NAME_BYTES
                self._issues.add(
                    f"{pointer}/path",
                    IssueCode.INVALID_VALUE,
                    detail,
                    limit=NAME_BYTES if long else None,
                    given=source.path,
                )
                return
        if source.unpack is None:
            yield entry_of(source.path, content)
            return
        read = entries_of if source.unpack == "zip" else entries_of_tar
        try:
            yield from read(content, source.path)
        except ValueError as error:
            self._issues.add(pointer, IssueCode.INVALID_VALUE, str(error))
