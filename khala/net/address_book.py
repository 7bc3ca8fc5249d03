"""Where the judicators are: what was configured, and what the cluster told of since.

It is kept in a file. Whoever joined when there was one judicator, and starts again while just that
one is away, would know nobody otherwise, however many others serve.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger()

#: A judicator that failed is asked after all others for this long.
BLAME_S = 3.0
#: In a data directory; the roles of one host may share it.
FILE = "judicators.json"


class AddressBook:
    """The judicators' RPC addresses: those configured, and those the cluster told of."""

    def __init__(self, seeds: Iterable[str], file: Path | None = None) -> None:
        self._seeds = list(dict.fromkeys(seeds))
        self._file = file
        self._learned = _read(file) if file is not None else []
        self._blamed: dict[str, float] = {}
        self._turn = 0

    @property
    def addresses(self) -> list[str]:
        return list(dict.fromkeys([*self._learned, *self._seeds]))

    def learn(self, addresses: Iterable[str]) -> None:
        """What a judicator last saw in the registry replaces what was learned before."""
        learned = list(addresses)
        if not learned or learned == self._learned:
            return
        self._learned = learned
        # One alone may be all that is up just now, and says nothing of the others.
        if self._file is not None and len(learned) > 1:
            _write(self._file, learned)

    def blame(self, address: str) -> None:
        self._blamed[address] = time.monotonic() + BLAME_S

    def praise(self, address: str) -> None:
        self._blamed.pop(address, None)

    def order(self) -> list[str]:
        """All addresses, rotated by one for each call; those that failed lately come last."""
        known = self.addresses
        if not known:
            return []
        self._turn = (self._turn + 1) % len(known)
        rotated = known[self._turn :] + known[: self._turn]
        if not self._blamed:
            return rotated
        now = time.monotonic()
        return sorted(rotated, key=lambda address: self._blamed.get(address, 0.0) > now)


def _read(file: Path) -> list[str]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        return []


def _write(file: Path, addresses: list[str]) -> None:
    """A full disk costs the memory of it, nothing else."""
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        draft.write_bytes(msgspec.json.encode(addresses))
        draft.replace(file)
    except OSError as error:
        log.warning("judicators.not_noted", file=str(file), why=error.strerror)
