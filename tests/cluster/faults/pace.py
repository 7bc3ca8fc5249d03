"""How busy the machine is while a scene is played: bounds are stretched by that.

Measured again and again beside the rows, not between them: a burst of other work in the middle of a
fault is then seen, and no row waits for its measure.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Self

from tests.cluster.faults.witness import uptime
from tests.hosts.docker import Host

#: Of `khala.pex version`, when nothing else runs.
NOMINAL_START_S = 1.0
PAUSE_S = 4.0


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    until: float

    @property
    def slowness(self) -> float:
        return max(1.0, (self.until - self.at) / NOMINAL_START_S)


class Pace:
    """Use as a context."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._samples: list[Sample] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._measure)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _measure(self) -> None:
        while True:
            at = uptime()
            self._host.run("khala.pex version", check=False)
            self._samples.append(Sample(at, uptime()))
            if self._over.wait(PAUSE_S):
                return

    def slowness(self, since: float) -> float:
        """How many times longer a process of Khala took to start than on an idle machine, at worst
        since then."""
        while not self._samples:
            time.sleep(0.1)
        recent = [each for each in self._samples if each.until >= since] or self._samples[-1:]
        return max(each.slowness for each in recent)
