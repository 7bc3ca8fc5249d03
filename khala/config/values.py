"""Texts into values and back: sizes, durations, lists, paths.

A process hands its settings to its children as flags, so `parse(kind, show(kind, value))` must be
`value` again. That is why durations and numbers have three decimals, and a comma inside an item of
a list has a backslash before it. Every refusal says what would have been right.
"""

from __future__ import annotations

import math
import os
import re
from enum import StrEnum
from typing import TypeAlias

from khala.model.wants import CPUS, SIZES

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
    SWITCH = "yes or no"


def kind_of_resource(name: str) -> Kind:
    """How an amount of it is written."""
    if name in SIZES:
        return Kind.SIZE
    return Kind.NUMBER if name == CPUS else Kind.INT


_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"
_SIZE = re.compile(_NUMBER + r"\s*(|B|[KMGT]iB|[KMGT])\Z")
_UNITS = {"": 1, "B": 1} | {
    letter + suffix: 1 << shift
    for letter, shift in (("K", 10), ("M", 20), ("G", 30), ("T", 40))
    for suffix in ("", "iB")
}
_SECONDS = re.compile(_NUMBER + r"\s*(|ms|s|m|h|d)\Z")
_FACTORS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: Up to the next comma that no backslash protects.
_ITEM = re.compile(r"(?:\\[\\,]|[^,])*")
_ESCAPED = re.compile(r"\\([\\,])")
_INT = re.compile(r"-?[0-9]{1,18}\Z")
_YES = ("yes", "true", "on", "1")
_NO = ("no", "false", "off", "0")
#: A millisecond, a thousandth of a processor: what `show` can write exactly.
_DECIMALS = 3


def parse(kind: Kind, given: object) -> Value:
    """Raise `ValueError` with a sentence that starts in lower case."""
    if kind is Kind.LIST:
        return _list(given)
    if kind is Kind.SWITCH:
        return _switch(given)
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        article = "an" if kind is Kind.INT else "a"
        raise ValueError(f"{given!r} is not {article} {kind}")  # noqa: TRY004 - one class for bad texts
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
        case Kind.PATH:
            return os.path.abspath(os.path.expanduser(_text(text)))
        case _:
            return _text(text)


def _switch(given: object) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError(f"{given!r} is not a switch: yes or no")


def show(kind: Kind, value: Value) -> str:
    """As a person would write it into a file; empty for no value."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(escape_item, value))
    if kind is Kind.SIZE and isinstance(value, int):
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if value and value % _UNITS[unit] == 0:
                return f"{value // _UNITS[unit]}{unit}"
    if kind is Kind.SECONDS and isinstance(value, int | float):
        for unit in ("d", "h", "m"):
            if value and value % _FACTORS[unit] == 0:
                return f"{_decimal(value / _FACTORS[unit])}{unit}"
        return f"{_decimal(value)}s"
    return _decimal(value) if isinstance(value, float) else str(value)


def _decimal(value: float) -> str:
    """Never with an exponent, which `parse` would refuse."""
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(f"{text!r} is not a printable text of one character or more")
    return text


def _list(given: object) -> tuple[str, ...]:
    """Items are trimmed; empty ones do not count, so that an empty text is an empty list. `\\,` is
    a comma within an item, `\\\\` a backslash; before anything else a backslash is itself."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{given!r} is not a list of texts")
    items = [part.strip() for text in texts for part in _ITEM.findall(text)]
    return tuple(_text(_ESCAPED.sub(r"\1", item)) for item in items if item)


def escape_item(item: str) -> str:
    """As it stands in a list."""
    return re.sub(r"([\\,])", r"\\\1", item)


def _int(text: str) -> int:
    if not _INT.match(text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number")
    return round(number, _DECIMALS)


def _size(text: str) -> int:
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 512MiB or 1073741824")
    amount = float(match[1]) if "." in match[1] else int(match[1])
    return int(amount * _UNITS[match[2]])


def _seconds(text: str) -> float:
    match = _SECONDS.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 2s, 500ms or 1h")
    return round(float(match[1]) * _FACTORS[match[2]], _DECIMALS)
