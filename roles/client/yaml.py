"""Documents as YAML, written for people to read: block style, quotes only where they are needed.

Only what JSON has is written, in the subset that YAML 1.1 and 1.2 read alike; a library would be
one more thing in the file for forty lines. Nothing here reads YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from msgspec import UNSET

#: Everything else is quoted: numbers, dates, `no`, empty texts and texts with a meaning in YAML.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*\Z")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_STEP = "  "


def dump(document: object) -> str:
    """`document` is what JSON can say, as builtins; ends with a newline."""
    return "\n".join(_lines(document)) + "\n"


def _lines(value: object) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if item is not UNSET:
                yield from _entry(f"{_text(str(key))}:", item)
    elif isinstance(value, list) and value:
        for item in value:
            inner = _lines(item)
            yield f"- {next(inner)}"
            yield from (_STEP + line for line in inner)
    else:
        yield _scalar(value)


def _entry(key: str, item: object) -> Iterator[str]:
    if isinstance(item, dict | list) and item:
        yield key
        indent = "" if isinstance(item, list) else _STEP
        yield from (indent + line for line in _lines(item))
    else:
        yield f"{key} {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    number = json.dumps(value)
    # 1e-05 is a text for YAML 1.1, 1.0e-05 a number for both.
    return number if "." in number else number.replace("e-", ".0e-").replace("e+", ".0e+")


def _text(text: str) -> str:
    if _PLAIN.match(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char == "\n":
        return "\\n"
    if char == "\t":
        return "\\t"
    if char.isprintable():
        return char
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
