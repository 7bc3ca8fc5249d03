"""Runs Python as nobody in particular: `python -m tests.sandbox.unprivileged FOLDER ARGUMENT...`.

Needs root, to give it up. Python or the checkout may lie below a folder that only root may pass
(`/root`); a mount namespace in which such folders are covered by ones that everybody may pass
leaves the host as it is. FOLDER belongs to that user, who keeps temporary files there.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from sandbox import mounts


def drop_root(folder: str) -> None:
    """Become the owner of the folder in this process."""
    uid = os.stat(folder).st_uid
    mounts.enter_namespace()
    for needed in (sys.executable, os.path.realpath(sys.executable), __file__):
        for parent in reversed(Path(needed).parents):
            if not parent.stat().st_mode & stat.S_IXOTH:
                mounts.cover(str(parent), leave_out=())
    # Where the tests make a folder to be shown to jails.
    mounts.mount("none", "/opt", "tmpfs", options="mode=1777")
    os.environ.update(TMPDIR=folder, HOME=folder, PYTHONDONTWRITEBYTECODE="1")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


if __name__ == "__main__":
    drop_root(sys.argv[1])
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
