"""The process that ends all jails of a sandbox when its service cannot do so any more.

It waits for the service to be gone, however it went, and then kills every jail that is left. The
kernel's parent-death signal would do the same, but it needs one more program start per jail and
fires when the starting thread ends; the guardian costs nothing while jails run.

A service that hangs is as bad: nothing but its timers ends a stage that runs too long. So it says
every few seconds that it lives, and when it has not for a minute, the guardian kills it, too; its
attempts have been given to others long before. A service that never said so is not watched. Should
the guardian be killed, the next sandbox of the same name sweeps at its start.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress

from sandbox.group import Tree

#: Silence of a service after which it is killed, and how often it is heard of.
HUNG_S = 60
_BEAT_S = 5.0
_EXIT_S = 15
#: Runs before the tree's own program, which waits for the end of the same input. Bash, because a
#: POSIX shell cannot wait for a while only.
_WATCH = """
trap '' INT TERM HUP
patience=
while :; do
  read -r $patience seconds
  heard=$?
  [ $heard -eq 0 ] || break
  patience="-t $seconds"
done
[ $heard -gt 128 ] && kill -9 $PPID
"""


class Guardian:
    """Call everything in the process that made it."""

    def __init__(self, work_root: str, tree: Tree) -> None:
        self._beaten_at = 0.0
        program, *arguments = tree.guardian(work_root)
        self._process = subprocess.Popen(
            ["bash", "-c", _WATCH + program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # It keeps the lock, so that no successor starts jails which it would then kill.
            pass_fds=(tree.lock_fd,),
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin"},
        )
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)

    @property
    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def beat(self) -> None:
        """The service lives. Cheap to call often."""
        now = time.monotonic()
        if now - self._beaten_at >= _BEAT_S and self._process.stdin is not None:
            self._beaten_at = now
            # One that is gone is replaced, one that does not listen has been stopped.
            with suppress(BrokenPipeError, BlockingIOError):
                self._process.stdin.write(b"%d\n" % HUNG_S)

    def close(self) -> None:
        """Let it remove what is left, and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
