"""A file as a block device: the kernel's loop driver, by ioctl.

The device detaches itself when nothing has it open or mounted any more. The mount lives in the
namespace of this process, so a killed executor leaves no device behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_CONTROL = "/dev/loop-control"
_GET_FREE = 0x4C82
_CONFIGURE = 0x4C0A
_READ_ONLY = 1
_AUTOCLEAR = 4
#: `struct loop_config`: descriptor, block size, `struct loop_info64`, reserved.
_CONFIG = struct.Struct("=II 5Q 4I 64s 64s 32s 2Q 8Q")
#: Another process may take the device that the kernel called free.
_TRIES = 16


def attach(path: str) -> tuple[int, str]:
    """The device of the file, read-only, as an open descriptor and a path.

    The caller mounts the path and closes the descriptor. Raises OSError naming what was missing.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(_TRIES):
                device = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
                fd = _configure(device, file, os.fsencode(path))
                if fd is not None:
                    return fd, device
        finally:
            os.close(control)
    finally:
        os.close(file)
    raise OSError(errno.EBUSY, "every loop device is in use", _CONTROL)


def _configure(device: str, file: int, name: bytes) -> int | None:
    """None if somebody else was faster."""
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    flags = _READ_ONLY | _AUTOCLEAR
    info = (0, 0, 0, 0, 0, 0, 0, 0, flags, name[:63], b"", b"", 0, 0)
    try:
        fcntl.ioctl(fd, _CONFIGURE, _CONFIG.pack(file, 0, *info, *([0] * 8)))
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EBUSY:
            return None
        error.filename = device
        raise
    return fd
