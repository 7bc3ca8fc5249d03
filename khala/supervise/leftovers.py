"""What a backup makes beside its file, and the next one removes if the first was killed.

A draft may be as large as the cluster's data, and its hidden name is one that nobody looks for. It
is locked by the process that makes it, so that one that is being made is told from one that was
left: a lock ends with its process, while a number in a name may be given to another.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

DRAFT = ".khala-backup-"
SCRATCH = ".khala-verify-"


def hold(path: Path) -> int:
    """Mark a draft, or a folder, as being made; close the descriptor when it is gone."""
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what was left there by backups that were killed; return what it was."""
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    ours = [path for path in found if path.name.startswith((DRAFT, SCRATCH))]
    return [path for path in ours if _remove_if_left(path)]


def _remove_if_left(path: Path) -> bool:
    try:
        # A link is nothing that we make, and would lead elsewhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
