"""The root file systems that jails see, each put together once and then read-only.

A jail needs a system to run programs of, and nothing else of the host. What is shown is named
here: programs and libraries (/usr), the few files of /etc that programs cannot do without, five
devices. What is not named does not exist inside: no /home, /root, /var, /run, /sys, no cgroups,
no terminal. One staged tree costs each jail a single bind mount; binding the parts one by one
took twice as long as the rest of the jail's set-up.

An image is staged in the same way, only that everything it has at its top is shown. Its `/etc` is
copied, because some of the files in it are Khala's, and an image may lack the very file that one
of them would have to be mounted on.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from khala.model.errors import Rejected
from khala.model.limits import MIB
from sandbox import mounts
from sandbox.exposing import Exposed

#: Used when the work root lies below a directory that the slots' users may not traverse: nsjail
#: opens what it mounts as the slot's user. Only an empty directory is ever left there.
FALLBACK_WORK_ROOT = "/run/khala"
#: Where things are inside the jail.
BOX = "/box"
SOURCE = "/box/source"

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC_BINDS = ("/etc/alternatives", "/etc/ssl/certs", "/etc/java-*")
_ETC_COPIES = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d/*",
    "localtime",
    "mime.types",
    # Free Pascal finds its own units by it.
    "fpc*.cfg",
)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_ETC_TEXTS = {
    "passwd": (
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
        "task:x:1000:1000:task:/tmp:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": "root:x:0:\ntask:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost khala\n::1 localhost khala\n",
    "resolv.conf": "",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
#: Where jails have what is theirs or Khala's, whatever an image has there.
_OWN = ("proc", "sys", "dev", "tmp", "run", "box")
_TOP_ENTRIES_MAX = 64
_ETC_BYTES_MAX = 8 * MIB
_ETC_ENTRIES_MAX = 4096
_NAMES_BYTES_MAX = 256 * 1024
_MOUNT_POINTS = ("proc", "tmp", "dev/shm", SOURCE.lstrip("/"))
#: Mounted without nosuid, which nsjail could not repeat; it sets that for each jail.
_ROOT_OPTIONS = "size=16m,nr_inodes=8192,mode=0755"


def choose_work_root(wanted: str, name: str) -> str:
    """Create and return the mount point: `<wanted>/<name>`, or below FALLBACK_WORK_ROOT."""
    chosen = wanted if _is_traversable(wanted) else FALLBACK_WORK_ROOT
    if not _is_traversable(chosen):
        raise Rejected(
            f"--work-root: neither {wanted} nor {FALLBACK_WORK_ROOT} can be reached by the"
            " slots' users; repair with: chmod o+x on every directory above one of them",
            field="--work-root",
        )
    path = os.path.join(chosen, name)
    try:
        os.makedirs(path, mode=0o711, exist_ok=True)
        for made in (chosen, path):
            os.chmod(made, os.stat(made).st_mode | 0o111)
    except OSError as error:
        raise Rejected(
            f"--work-root: cannot make {path} ({error.strerror}); name a writable place",
            field="--work-root",
        ) from error
    return path


def _is_traversable(path: str) -> bool:
    """Whether others may pass every existing directory on the way to (and not including) it."""
    parents = [parent for parent in Path(os.path.abspath(path)).parents if parent.exists()]
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in parents)


def taken_paths() -> tuple[str, ...]:
    """What every jail has, or does not have for a reason."""
    etc = (f"/etc/{name}" for name in ("alternatives", "ssl", *_ETC_TEXTS))
    return (*_SYSTEM, *etc, "/proc", "/dev", "/tmp", BOX)


def host_names() -> dict[str, str]:
    """Files of a jail with the host's network that say how names become addresses: read for each
    jail, because the host's change with its networks."""
    return {
        "/etc/hosts": _ETC_TEXTS["hosts"] + _read("/etc/hosts"),
        "/etc/resolv.conf": _read("/etc/resolv.conf"),
        "/etc/nsswitch.conf": _ETC_TEXTS["nsswitch.conf"].rstrip("\n") + " dns\n",
    }


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(_NAMES_BYTES_MAX))
    except OSError:
        return ""  # then only addresses work


def stage_root(root: str, exposed: Sequence[Exposed]) -> None:
    """Build the tree of this host's programs at the existing directory `root`."""
    _begin(root)
    for path in _SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path):
            _bind(path, root + path)
    _stage_etc(root)
    _stage_devices(root)
    for each in exposed:
        _bind(each.source, root + each.target)
    _end(root)


def stage_image(root: str, top: str) -> None:
    """The same for the root file system at `top`. Raises Rejected saying what is wrong with it,
    or OSError."""
    entries = sorted(os.scandir(top), key=lambda entry: entry.name)
    if len(entries) > _TOP_ENTRIES_MAX:
        raise Rejected(
            f"{len(entries)} entries at its top (limit {_TOP_ENTRIES_MAX}); is it the root of a"
            " file system?"
        )
    _begin(root)
    for entry in entries:
        target = f"{root}/{entry.name}"
        if entry.name in (*_OWN, "etc"):
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            _bind(entry.path, target)
        elif entry.is_file():
            Path(target).touch()
            mounts.bind_read_only(entry.path, target)
    os.mkdir(f"{root}/etc")
    _copy_etc(f"{top}/etc", f"{root}/etc")
    _write_etc(root)
    _stage_devices(root)
    _end(root)


def _begin(root: str) -> None:
    mounts.mount("khala-root", root, "tmpfs", options=_ROOT_OPTIONS)
    for point in _MOUNT_POINTS:
        os.makedirs(f"{root}/{point}", mode=0o755)


def _end(root: str) -> None:
    flags = mounts.REMOUNT | mounts.RDONLY
    mounts.mount("none", root, flags=flags, options=_ROOT_OPTIONS)


def _copy_etc(source: str, target: str) -> None:
    """Files, links and directories; no link is followed."""
    if os.path.islink(source) or not os.path.isdir(source):
        return
    size = entries = 0
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in list(os.scandir(f"{source}/{folder}")):
            name = f"{folder}/{entry.name}"
            found = entry.stat(follow_symlinks=False)
            entries += 1
            size += found.st_size
            if size > _ETC_BYTES_MAX or entries > _ETC_ENTRIES_MAX:
                raise Rejected(
                    f"its /etc has more than {_ETC_ENTRIES_MAX} entries or {_ETC_BYTES_MAX} bytes,"
                    " and it is copied; remove what no program needs"
                )
            if stat.S_ISDIR(found.st_mode):
                os.mkdir(target + name)
                folders.append(name)
            elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                shutil.copyfile(source + name, target + name, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode) and os.path.exists(target + name):
                os.chmod(target + name, stat.S_IMODE(found.st_mode) & 0o777)


def _stage_etc(root: str) -> None:
    for pattern in _ETC_BINDS:
        for path in glob.glob(pattern):
            if os.path.isdir(path):
                _bind(path, root + path)
    for pattern in _ETC_COPIES:
        for path in glob.glob(f"/etc/{pattern}"):
            if os.path.isfile(path):
                os.makedirs(os.path.dirname(root + path), exist_ok=True)
                shutil.copyfile(path, root + path)
    _write_etc(root)


def _write_etc(root: str) -> None:
    for name, text in _ETC_TEXTS.items():
        path = Path(f"{root}/etc/{name}")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_text(text)


def _stage_devices(root: str) -> None:
    for name in _DEVICES:
        target = f"{root}/dev/{name}"
        Path(target).touch()
        mounts.mount(f"/dev/{name}", target, flags=mounts.BIND)
        flags = mounts.REMOUNT | mounts.BIND | mounts.RDONLY | mounts.NOSUID | mounts.NOEXEC
        mounts.mount("none", target, flags=flags)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")


def _bind(source: str, target: str) -> None:
    os.makedirs(target, mode=0o755, exist_ok=True)
    mounts.bind_read_only(source, target)
