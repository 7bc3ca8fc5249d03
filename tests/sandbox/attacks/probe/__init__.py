"""The C program with most of the attacks; compiled once, when the first test needs it."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cached_property
from pathlib import Path


class Probe:
    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        folder = tempfile.TemporaryDirectory(prefix="khala-probe-")
        sources = sorted(str(path) for path in Path(__file__).parent.glob("*.c"))
        command = ["gcc", "-O1", "-w", "-pthread", "-o", f"{folder.name}/probe", *sources]
        subprocess.run(command, check=True)
        return folder

    def path(self) -> Path:
        return Path(self._folder.name) / "probe"

    def remove(self) -> None:
        self._folder.cleanup()
        del self._folder


PROBE = Probe()
