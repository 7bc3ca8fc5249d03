"""Presets: named beginnings of task documents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct


class Preset(Struct, frozen=True, kw_only=True):
    """What tasks may begin with."""

    name: str
    #: For people.
    description: str
    #: A part of a task document; what a document with this `preset` says itself wins.
    task: dict[str, Any]
    updated_at: datetime


class Presets(Struct, frozen=True, kw_only=True):
    """All of them."""

    #: By name.
    presets: list[Preset]
