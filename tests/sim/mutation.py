"""One rule taken away: how, and within how many seeds the simulation must miss it."""

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
