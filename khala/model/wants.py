"""What a task wants of its executor beside a slot and an image, and what an executor has to give.

Amounts are whole numbers by name, so that adding and taking away never rounds: `cpus` in
thousandths of a processor, `memory` and `disk` in bytes, and whatever else an operator counts
(`gpu`). Labels say where a task may run: an executor that lacks a required one, or has one to be
avoided, is never given it; preferred ones decide between executors that could have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

import msgspec
from msgspec import Struct

CPUS = "cpus"
MEMORY = "memory"
DISK = "disk"
#: Those that are written as sizes, as in "8GiB".
SIZES = (MEMORY, DISK)
CPU_STEPS = 1000

Amounts: TypeAlias = dict[str, int]
Labels: TypeAlias = dict[str, str]


class Wants(Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """Has a dictionary beside its fields, for what is computed once: see `digest`."""

    amounts: Amounts = {}
    require: Labels = {}
    avoid: Labels = {}
    prefer: Labels = {}

    @cached_property
    def digest(self) -> str:
        """Equal for equal wants; empty for none. Dispatch asks for it at each look at a task."""
        if not (self.amounts or self.require or self.avoid or self.prefer):
            return ""
        encoded = msgspec.msgpack.encode(self, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:16]

    def welcome_at(self, labels: Mapping[str, str]) -> bool:
        """An executor with these labels may be given the task."""
        return all(labels.get(key) == value for key, value in self.require.items()) and not any(
            labels.get(key) == value for key, value in self.avoid.items()
        )

    def preferred_at(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.prefer.items())


def shortages(wanted: Mapping[str, int], available: Mapping[str, int]) -> list[str]:
    """Names of what there is not enough of."""
    return [name for name, amount in wanted.items() if amount > available.get(name, 0)]


def show_amount(name: str, amount: int) -> str:
    """For people: "cpus 1.5", "memory 8 GiB", "gpu 2"."""
    if name == CPUS:
        return f"cpus {amount / CPU_STEPS:g}"
    if name in SIZES:
        return f"{name} {amount / (1 << 30):.3g} GiB"
    return f"{name} {amount}"
