"""Presets: named beginnings of task documents, kept for everybody.

GET    /rpc/v1/presets          -> PresetList
GET    /rpc/v1/presets/<name>   -> Preset, or NotFound
PUT    /rpc/v1/presets/<name>   PutPreset -> Preset
DELETE /rpc/v1/presets/<name>   -> Preset as it was, or NotFound
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class PutPreset(Struct, frozen=True, kw_only=True):
    description: str = ""
    #: A part of a task document, as JSON: the gateways know what it means, and check it.
    task: bytes


class Preset(Struct, frozen=True, kw_only=True):
    name: str
    description: str = ""
    task: bytes
    updated_at: datetime


class PresetList(Struct, frozen=True, kw_only=True):
    #: By name.
    presets: list[Preset]
