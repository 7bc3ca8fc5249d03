"""Runs Python as root without cgroups: `python -m tests.sandbox.groupless ARGUMENT...`.

In a mount namespace in which something empty and read-only lies over them, so the host keeps them.
"""

from __future__ import annotations

import os
import sys

from sandbox import mounts

if __name__ == "__main__":
    mounts.enter_namespace()
    mounts.mount("none", "/sys/fs/cgroup", "tmpfs", options="mode=755,ro")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
