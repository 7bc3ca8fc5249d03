"""One rule that can be patched out of the real core; the product has no switch for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    apply: Callable[[Patch], None]
    rule: str
    #: Seeds, counted from 0, of which one must break a promise.
    within: int | None
    #: What the rule's absence costs, or what else covers it.
    covered: str = ""


def nothing(*_: object) -> None: ...


async def nothing_async(*_: object) -> None: ...


def without(owner: type, *names: str) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        for name in names:
            patch.setattr(owner, name, nothing)

    return apply


def without_flow(owner: type, name: str) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, nothing_async)
