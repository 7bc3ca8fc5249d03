"""How far a large file has come, for whoever waits for it."""

from __future__ import annotations

import sys
import time

import click

from roles.client import tables

_PAUSE_S = 1.0


class Moving:
    """Told of each step. Says nothing of what takes less than a second, and something once a second
    of what takes longer: in one place on a terminal, elsewhere a line each."""

    def __init__(self, done: str) -> None:
        """`done` is what happens to it: sent, received."""
        self._done = done
        self._next_at = 0.0
        self._drawn = False

    def __call__(self, at: int, size: int) -> None:
        now = time.monotonic()
        if at == 0:
            self._next_at = now + _PAUSE_S
            return
        screen = sys.stderr.isatty()
        if now >= self._next_at:
            self._next_at = now + _PAUSE_S
            of = f"{tables.size(at)} of {tables.size(size)}"
            text = f"khala: {of} {self._done} ({100 * at // size} %)"
            click.echo(f"\r\x1b[K{text}" if screen else text, nl=not screen, err=True)
            self._drawn = screen
        if at == size and self._drawn:
            click.echo(err=True)
            self._drawn = False
