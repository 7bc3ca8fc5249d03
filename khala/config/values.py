"""Texts into values: sizes, durations, lists; every refusal says what would have been right."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = str | int | float | tuple[str, ...] | None


class Kind(StrEnum):
    TEXT = "text"
    PATH = "path"
    INT = "integer"
    PORT = "port"
    SIZE = "size"
    SECONDS = "duration"
    NUMBER = "number"
    LIST = "list"


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|B|KiB|MiB|GiB|K|M|G)\Z")
_UNITS = {
    "": 1,
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
}
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*(|ms|s|m|h|d)\Z")
_FACTORS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse(kind: Kind, given: object) -> Value:
    """Raise `ValueError` with a sentence that starts in lower case."""
    if kind is Kind.LIST:
        return _list(given)
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f"{given!r} is not a {kind}")  # noqa: TRY004 - one class for bad texts
    text = str(given).strip()
    match kind:
        case Kind.INT | Kind.PORT:
            return _int(text)
        case Kind.SIZE:
            return _size(text)
        case Kind.SECONDS:
            return _seconds(text)
        case Kind.NUMBER:
            return _number(text)
        case _:
            return text


def show(kind: Kind, value: Value) -> str:
    """As a person would write it into a file."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if kind is Kind.SIZE and isinstance(value, int):
        for unit in ("GiB", "MiB", "KiB"):
            if value and value % _UNITS[unit] == 0:
                return f"{value // _UNITS[unit]}{unit}"
    if kind is Kind.SECONDS:
        return f"{value:g}s"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _list(given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    if isinstance(given, list | tuple) and all(isinstance(part, str) for part in given):
        return tuple(given)
    raise ValueError(f"{given!r} is not a list of texts")


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _size(text: str) -> int:
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 512MiB or 1073741824")
    return int(float(match[1]) * _UNITS[match[2]])


def _seconds(text: str) -> float:
    match = _SECONDS.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 2s, 500ms or 1h")
    return float(match[1]) * _FACTORS[match[2]]
