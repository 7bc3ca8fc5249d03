"""A Linux of its own for tests: user-mode Linux, whose root is the host's, read-only.

It needs neither virtualisation nor an image, starts in seconds, and mounts cgroups as the tests
want them, while a host can have a controller in one hierarchy only. Its processes are processes
of the host, in a session of their own, which ends as a whole (`warden.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from tests.vm.report import REPORT, Result, read_results

_PROGRAM = "linux.uml"
_ROOT = Path(__file__).parents[2]
_MEMORY_MIB = 2048
#: A tenth of what others get, should they all want it.
_NICE = 15
#: From the start, and then from one test's end to the next. Tests have 300 s each in there.
SILENCE_S = 900.0
#: Between two looks at what a machine says.
POLL_S = 0.1
_TAIL_BYTES = 6000


class Place(StrEnum):
    """Where the tests run in the machine; `init.sh` makes it so."""

    #: As root in the root of the hierarchy.
    ROOT = "root"
    #: As root in a service's group, like systemd's with Delegate=yes.
    SERVICE = "service"
    #: As an ordinary user in a service's group that belongs to that user.
    DELEGATED = "delegated"


class Machine:
    """One boot, which runs the given tests and ends. `stop` it in any case."""

    def __init__(self, folder: Path, place: Place, tests: Sequence[str]) -> None:
        self._share = folder / "share"
        self._console = folder / "console.log"
        self._share.mkdir(parents=True)
        # Guest users are other users of the host's files.
        self._share.chmod(0o711)
        (self._share / "tests").write_text("".join(f"{test}\n" for test in tests))
        (self._share / REPORT).touch()
        (self._share / REPORT).chmod(0o666)
        self._results: dict[str, Result] = {}
        self._heard = time.monotonic()
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                self._argv(folder, place),
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(_memory_folder(folder))},
            )
        _give_way(self.session)

    def _argv(self, folder: Path, place: Place) -> list[str]:
        environment = {
            "repository": _ROOT,
            "share": self._share,
            "python_home": sys.base_prefix,
            "place": place,
        }
        return [
            *(sys.executable, str(_ROOT / "tests/vm/warden.py")),
            *("env", f"LD_PRELOAD={_preloaded(folder)}", _PROGRAM),
            f"mem={_MEMORY_MIB}M",
            f"uml_dir={folder}/",
            *("rootfstype=hostfs", "rootflags=/", "ro", "con0=null,fd:1", "con=null", "panic=-1"),
            f'init="{_ROOT}/tests/vm/init.sh"',
            *(f'{name}="{value}"' for name, value in environment.items()),
        ]

    def result(self, test: str, *, silence_s: float = SILENCE_S) -> Result:
        """Wait for that test's end; raises as `look` does."""
        while (found := self.look(test, silence_s=silence_s)) is None:
            time.sleep(POLL_S)
        return found

    def look(self, test: str, *, silence_s: float = SILENCE_S) -> Result | None:
        """That test's end, if it has come. Raises AssertionError with the machine's own words if
        the machine has ended without it or is silent for too long, which ends the machine."""
        # In this order: what it wrote before it ended must still be read.
        ended = self.has_ended
        self._read()
        if test in self._results:
            return self._results[test]
        if ended:
            raise AssertionError(f"the machine ended before this test\n{self.words()}")
        if time.monotonic() - self._heard > silence_s:
            self.stop()
            raise AssertionError(f"the machine was silent for {silence_s:g} s\n{self.words()}")
        return None

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def _read(self) -> None:
        for result in read_results(self._share / REPORT):
            if result.test not in self._results:
                self._results[result.test] = result
                self._heard = time.monotonic()

    def words(self) -> str:
        """The ends of what kernel and pytest said."""
        parts = []
        for log in (self._console, self._share / "pytest.log"):
            if log.exists():
                text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
                parts.append(f"--- {log.name} ---\n{text}")
        return "\n".join(parts)

    @property
    def session(self) -> int:
        """What its processes on the host have in common."""
        return self._process.pid

    def stop(self) -> None:
        """Kill whatever is left of it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _give_way(session: int) -> None:
    """Machines are slow and their tests patient: what runs beside them comes first."""
    os.setpriority(os.PRIO_PROCESS, session, _NICE)
    # Where sessions share the processors as such, what counts is the session's own.
    with suppress(FileNotFoundError):
        Path(f"/proc/{session}/autogroup").write_text(str(_NICE))


def _preloaded(folder: Path) -> Path:
    """The library of `xstate.c`, which says what it is for."""
    library = folder / "xstate.so"
    source = _ROOT / "tests/vm/xstate.c"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run(["gcc", *flags, "-o", library, source, "-ldl"], check=True)
    return library


def _memory_folder(fallback: Path) -> Path:
    """The machine's memory is an unlinked file; on a disk it would be written back all the time,
    and containers have a small /dev/shm."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        space = os.statvfs(shared)
        if space.f_bavail * space.f_frsize > 2 * _MEMORY_MIB << 20:
            return shared
    return fallback
