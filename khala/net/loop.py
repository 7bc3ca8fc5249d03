"""The event loop of a serving process."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

Answer = TypeVar("Answer")

#: Requests allocate many short-lived objects and hardly any cycles; Python's own 700 would walk
#: the young ones several times per request.
_YOUNG_OBJECTS = 20_000


def run(main: Coroutine[object, object, Answer]) -> Answer:
    """Run `main` on uvloop. What is loaded by now lives as long as the process: it is never
    looked at by the garbage collector again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    return uvloop.run(main)
