"""One role, alone on its host.

It is kept running as a service manager would: started again a second after it ended, whatever the
reason, until it is told to stay down. It has a file system of its own, in memory, so that a disk
can be filled without touching another's.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.docker import Host

#: On a host, of its only service.
ROOT = "/srv/khala"
DATA = f"{ROOT}/data"
#: Started again a second after it ended, as long as there is no file `down`.
_SERVICE = """
cd {root}
while :; do
  if [ ! -e down ]; then (set -a; . ./environment; exec khala.pex $(cat command)) >>log 2>&1; fi
  sleep 1
done
"""
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


@dataclass(slots=True)
class Service:
    """One role, alone on its host, and its directory as the machine below sees it."""

    name: str
    host: Host
    folder: Path
    command: str

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def word(self) -> str:
        return self.command.split()[0]

    def start(self) -> None:
        (self.folder / "command").write_text(self.command)
        self.host.start(_SERVICE.format(root=ROOT))

    def belong(self) -> None:
        """Its later starts continue what is there: they need not be told how to begin."""
        self.command = re.sub(r" --init| --join(-token-file)? \S+", "", self.command)
        (self.folder / "command").write_text(self.command)

    def stay_down(self) -> None:
        (self.folder / "down").touch()
        # The role's own process; guardians and supervisors see to the rest.
        self.host.kill9(self.word, self.name)

    def come_back(self) -> None:
        (self.folder / "down").unlink(missing_ok=True)

    def reboot(self, off_s: float) -> None:
        self.host.lose_power()
        time.sleep(off_s)
        self.host.boot()
        self.start()

    def set_clock(self, offset: str | None) -> None:
        """From the next start on, every process of it has that much later or earlier a date.

        Python's `time.sleep` sometimes fails under this library (`Invalid argument`: it sleeps
        until an instant of the monotonic clock), so that a process may have to be started twice.
        """
        variables = f"LD_PRELOAD={_FAKETIME}\nFAKETIME={offset}\nDONT_FAKE_MONOTONIC=1\n"
        (self.folder / "environment").write_text(variables if offset else "")

    def fill_disk(self) -> None:
        """To the last byte."""
        ballast = os.open(self.data / "ballast", os.O_WRONLY | os.O_CREAT)
        try:
            for size_bytes in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(ballast, bytes(size_bytes))
        finally:
            os.close(ballast)

    def free_disk(self) -> None:
        (self.data / "ballast").unlink()

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""
