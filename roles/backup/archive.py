"""The file: a tar that ordinary tools can look into.

    tasks/000000.bson.gz    documents one behind the other, as MongoDB's own tools read them
    ...
    manifest.json           what must be there: counts, sizes and hashes; written last

A file without a manifest was not finished. Parts are bounded, because a tar wants to know the size
of a member before its bytes, and so that reading one costs bounded memory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
from msgspec import Struct

from khala.model.errors import Rejected, Unavailable
from khala.supervise.leftovers import DRAFT, hold

FORMAT = 1
#: Of documents, before compression; a batch is at most as large again.
PART_BYTES = 32 * 1024 * 1024
_MANIFEST = "manifest.json"
_MANIFEST_BYTES = 64 * 1024 * 1024
#: Level 1 takes a third of the time of level 6 for a tenth more bytes.
_LEVEL = 1


class Part(Struct, frozen=True, kw_only=True):
    """One member of the tar."""

    name: str
    collection: str
    documents: int
    #: Of the documents, not of the compressed file.
    size_bytes: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a whole file has in it."""

    format: int
    #: Of Khala and of its collections, as they were.
    version: str
    schema: int
    cluster: str
    #: RFC 3339, when the first document was read.
    created_at: str
    documents: dict[str, int]
    parts: list[Part]

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)


class Writer:
    """Use it in `with`: a file that was not finished is removed. Raise `Unavailable` for a disk
    that takes no more."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise Rejected(
                f"-o: {path} exists; a backup replaces nothing, give another name", field="-o"
            )
        self._path = path
        self._draft = path.with_name(f"{DRAFT}{path.name}.{os.getpid()}")
        self._parts: list[Part] = []
        self._open: _Part | None = None
        try:
            # Whoever reads it reads every task.
            descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise Rejected(f"-o: {path} cannot be written: {error.strerror}", field="-o") from error
        self._file = os.fdopen(descriptor, "wb")
        self._mark = hold(self._draft)
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    @property
    def draft(self) -> Path:
        """Complete after `finish`, and nobody's until `publish`."""
        return self._draft

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open.drop()
        with suppress(OSError):
            self._file.close()
        self._draft.unlink(missing_ok=True)
        os.close(self._mark)

    def add(self, collection: str, documents: int, data: bytes) -> None:
        """Batches of one collection come one behind the other."""
        try:
            part = self._open
            if part is not None and (
                part.collection != collection or part.size_bytes + len(data) > PART_BYTES
            ):
                self._close_part(part)
                part = None
            self._open = part = part or _Part(collection, self._draft.parent)
            part.add(documents, data)
        except OSError as error:
            raise self._full(error) from error

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, with the parts, and let the disk confirm all of it."""
        try:
            if self._open is not None:
                self._close_part(self._open)
            whole = msgspec.structs.replace(manifest, parts=self._parts)
            text = msgspec.json.format(msgspec.json.encode(whole), indent=2)
            self._tar.addfile(_member(_MANIFEST, len(text)), io.BytesIO(text))
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._full(error) from error
        return whole

    def publish(self) -> None:
        """Give it its name."""
        try:
            os.link(self._draft, self._path)
            descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._full(error) from error

    def _close_part(self, part: _Part) -> None:
        number = sum(each.collection == part.collection for each in self._parts)
        name = f"{part.collection}/{number:06d}.bson.gz"
        file = part.finish()
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._tar.addfile(_member(name, size), file)
        file.close()
        self._parts.append(part.described(name))
        self._open = None

    def _full(self, error: OSError) -> Unavailable:
        return Unavailable(f"-o: {self._path} cannot be written: {error.strerror}; nothing is left")


class _Part:
    """Compressed beside the file, under no name, until its size is known."""

    def __init__(self, collection: str, folder: Path) -> None:
        self.collection = collection
        self.size_bytes = 0
        self._documents = 0
        self._hash = hashlib.sha256()
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `finish` hands it on
        self._packed = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=_LEVEL, mtime=0)

    def add(self, documents: int, data: bytes) -> None:
        self._documents += documents
        self.size_bytes += len(data)
        self._hash.update(data)
        self._packed.write(data)

    def finish(self) -> IO[bytes]:
        self._packed.close()
        return self._file

    def drop(self) -> None:
        with suppress(OSError):
            self._packed.close()
        self._file.close()

    def described(self, name: str) -> Part:
        return Part(
            name=name,
            collection=self.collection,
            documents=self._documents,
            size_bytes=self.size_bytes,
            sha256=self._hash.hexdigest(),
        )


class Reader:
    """Raise `Rejected` for a file that is not whole, or not a backup, or of a newer Khala."""

    def __init__(self, path: Path, *, schema: int) -> None:
        self._path = path
        try:
            self._tar = tarfile.TarFile(path)
        except OSError as error:
            raise Rejected(f"{path} cannot be read: {error.strerror}") from error
        except tarfile.TarError as error:
            raise self._damaged("it is not a backup of Khala") from error
        try:
            self.manifest = self._manifest(schema)
        except BaseException:
            self._tar.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def parts(self) -> Iterator[tuple[Part, bytes]]:
        """Each with its documents, checked."""
        for part in self.manifest.parts:
            data = self._content(part)
            if len(data) != part.size_bytes or hashlib.sha256(data).hexdigest() != part.sha256:
                raise self._damaged(f"{part.name} is not what was written")
            yield part, data

    def _manifest(self, schema: int) -> Manifest:
        try:
            member = self._tar.getmember(_MANIFEST)
            file = self._tar.extractfile(member)
            if file is None or member.size > _MANIFEST_BYTES:
                raise self._damaged("its manifest is none")
            manifest = msgspec.json.decode(file.read(), type=Manifest)
        except KeyError:
            raise self._damaged("it has no manifest: it was not finished") from None
        except (OSError, tarfile.TarError, msgspec.MsgspecError) as error:
            raise self._damaged(f"its manifest cannot be read: {error}") from error
        if manifest.format > FORMAT or manifest.schema > schema:
            raise Rejected(
                f"{self._path} was written by Khala {manifest.version}, which is newer: read it"
                " with that version or a later one"
            )
        return manifest

    def _content(self, part: Part) -> bytes:
        try:
            file = self._tar.extractfile(part.name)
            if file is None:
                raise self._damaged(f"{part.name} is not a file")
            with gzip.GzipFile(fileobj=file) as packed:
                # Not more than was promised, whatever it inflates to.
                return packed.read(part.size_bytes + 1)
        except KeyError:
            raise self._damaged(f"{part.name} is missing") from None
        except (OSError, EOFError, tarfile.TarError) as error:
            raise self._damaged(f"{part.name} cannot be read: {error}") from error

    def _damaged(self, why: str) -> Rejected:
        return Rejected(f"{self._path} is damaged: {why}; use another backup")


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o600
    member.mtime = int(time.time())
    return member
