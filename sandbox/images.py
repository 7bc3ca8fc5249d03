"""Root file systems beside the host's own: named, read-only, chosen per task.

An image is a directory that holds a root file system, or a squashfs file of one. It brings its own
programs, libraries and `/etc`; from Khala it gets what every jail has: users, host names, devices,
`/proc`, `/tmp`, `/dev/shm` and `/box`. Of the host it shows nothing, exposed directories included,
so that one image is the same on every executor.

Tasks are bash scripts, so an image needs `/bin/sh` and bash; a trial jail says whether it works.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Sequence

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.executor import ImageInfo
from khala.model.ids import check_name
from khala.model.limits import IMAGES_MAX, MIB
from sandbox import loop, mounts
from sandbox.identity import DIGITS, tree_of
from sandbox.staging import stage_image

_FLAG = "--image"
#: Magic number; end of the data that is used; where the tables begin that describe all files.
_SUPERBLOCK = struct.Struct("<4s 36x Q 16x Q 24x")
_MAGIC = b"hsqs"


class ImageSource(Struct, frozen=True, kw_only=True):
    """What an operator named."""

    name: str
    #: Without symlinks; a directory, or a squashfs file.
    path: str
    is_file: bool


def resolve_images(texts: Sequence[str]) -> tuple[ImageSource, ...]:
    """Read `NAME=PATH` and look at every path. Raises Rejected."""
    found: dict[str, ImageSource] = {}
    for text in texts:
        image = _resolve(text)
        if image.name in found:
            raise _refuse(text, f"{image.name} is the name of two images; give another name to one")
        found[image.name] = image
    if len(found) > IMAGES_MAX:
        raise Rejected(
            f"{_FLAG}: an executor has at most {IMAGES_MAX} images; {len(found)} were given; start"
            " another executor for the rest",
            field=_FLAG,
        )
    return tuple(found.values())


def stage(image: ImageSource, root: str, mount_point: str) -> None:
    """Build what a jail of this image sees at the existing directory `root`. A file is mounted
    at `mount_point`, another one. Raises Rejected."""
    top = image.path
    if image.is_file:
        _mount_file(image, mount_point)
        top = mount_point
    try:
        stage_image(root, top)
    except Rejected as error:
        raise _refuse(f"{image.name}={image.path}", error.message) from error
    except OSError as error:
        what = f": {error.filename}" if error.filename else ""
        raise _refuse(f"{image.name}={image.path}", f"{error.strerror}{what}") from error


def look(image: ImageSource) -> ImageInfo:
    """Tell the image from all others. A directory is walked, which takes seconds if it is large;
    of a file its tables are read. Raises Rejected."""
    if not image.is_file:
        tree = tree_of(image.path)
        return ImageInfo(name=image.name, identity=tree.identity, size_bytes=tree.size_bytes)
    try:
        return ImageInfo(
            name=image.name,
            identity=_identity_of_file(image.path),
            size_bytes=os.stat(image.path).st_size,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _refuse(f"{image.name}={image.path}", f"{why}") from error


def _resolve(text: str) -> ImageSource:
    name, _, path = text.partition("=")
    if not os.path.isabs(path):
        raise _refuse(text, "NAME=PATH with an absolute path, such as debian-12=/srv/debian-12")
    check_name(name, field=_FLAG)
    try:
        resolved = os.path.realpath(path, strict=True)
        mode = os.stat(resolved).st_mode
    except OSError as error:
        raise _refuse(text, f"{error.strerror}; name a directory or a squashfs file") from error
    if resolved == "/":
        raise _refuse(text, "that is this host itself, whose programs need no image")
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise _refuse(text, "neither a directory nor a squashfs file")
    return ImageSource(name=name, path=resolved, is_file=stat.S_ISREG(mode))


def _mount_file(image: ImageSource, mount_point: str) -> None:
    text = f"{image.name}={image.path}"
    try:
        _read_superblock(image.path)
    except ValueError as error:
        raise _refuse(text, str(error)) from error
    try:
        fd, device = loop.attach(image.path)
        try:
            flags = mounts.RDONLY | mounts.NOSUID | mounts.NODEV
            mounts.mount(device, mount_point, "squashfs", flags=flags)
        finally:
            os.close(fd)
    except OSError as error:
        raise _refuse(
            text,
            f"it cannot be mounted ({error.strerror}: {error.filename}); this needs root, Linux"
            " 5.8, loop devices and squashfs in the kernel (modprobe loop squashfs; in Docker:"
            " --device-cgroup-rule 'b 7:* rmw' and /dev/loop*); or unpack it and name the"
            f" directory: unsquashfs -d DIRECTORY {image.path}",
        ) from error


def _identity_of_file(path: str) -> str:
    """Of the superblock, which has the date it was made, and of the tables behind the data, which
    have the name, mode, date and every block's size of each file."""
    superblock, tables, end = _read_superblock(path)
    digest = hashlib.sha256(superblock)
    with open(path, "rb") as file:
        file.seek(tables)
        while tables < end and (chunk := file.read(min(MIB, end - tables))):
            digest.update(chunk)
            tables += len(chunk)
    return digest.hexdigest()[:DIGITS]


def _read_superblock(path: str) -> tuple[bytes, int, int]:
    """It, where the tables begin, and where they end. Raises ValueError for anything else."""
    with open(path, "rb") as file:
        superblock = file.read(_SUPERBLOCK.size)
        size = os.fstat(file.fileno()).st_size
    if len(superblock) < _SUPERBLOCK.size or not superblock.startswith(_MAGIC):
        raise ValueError("not a squashfs file; make one with: mksquashfs DIRECTORY FILE")
    _, end, tables = _SUPERBLOCK.unpack(superblock)
    if size < end or tables > end:
        raise ValueError(f"cut short: {size} of {end} bytes; copy it again")
    return superblock, tables, end


def _refuse(text: str, why: str) -> Rejected:
    return Rejected(f"{_FLAG}: {text}: {why}", field=_FLAG)
