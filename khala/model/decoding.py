"""What msgspec says of what it cannot decode, in words for whoever has written it: there are whole
numbers, texts and lists in a document, and no `int`, `str` and `array`."""

from __future__ import annotations

import json
import re

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_COUNTED = {"str": "character", "array": "item", "object": "key"}
_PLACE = re.compile(r" - at `[^`]*`\Z", re.DOTALL)
_TYPE = re.compile(r"Expected `(?P<types>[a-z| ]+)`(?:, got `\w+`)?\Z")
_BOUND = re.compile(
    r"Expected `(?P<type>\w+)`(?P<length> of length)? (?P<side>[<>]=) (?P<bound>-?[0-9.e+]+)\Z"
)
_PATTERN = re.compile(r"Expected `str` matching regex (?P<pattern>.*)\Z", re.DOTALL)
_DATE = "Invalid RFC3339 encoded datetime"


def needed(said: str) -> str | None:
    """What should be there instead: `a text or null`; None if it is not about that."""
    said = _PLACE.sub("", said)
    if said == _DATE:
        return "a date such as 2026-11-24T00:04:08Z"
    if found := _TYPE.match(said):
        types = found["types"].split(" | ")
        words = [_TYPES.get(each, each) for each in types if each != "int" or "float" not in types]
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    if found := _BOUND.match(said):
        side = "at least" if found["side"] == ">=" else "at most"
        counted = _COUNTED.get(found["type"]) if found["length"] else None
        of = "" if counted is None else f" {counted}{'s' * (found['bound'] != '1')}"
        return f"{_TYPES.get(found['type'], found['type'])} of {side} {found['bound']}{of}"
    if found := _PATTERN.match(said):
        return f"a text of the form {found['pattern']}"
    return None


def shown(given: object) -> str:
    """What is there, in a message: short, and by its name what is a document itself."""
    if isinstance(given, list | tuple):
        return "a list"
    if isinstance(given, dict):
        return "an object"
    return repr(given) if isinstance(given, str) else json.dumps(given)


def unreadable(error: Exception, text: str | bytes) -> str:
    """Why a text is no JSON."""
    if not text.strip():
        return "it is empty"
    said = _PLACE.sub("", str(error)).removeprefix("JSON is malformed: ")
    # Said of half an escape, too.
    if said == "Input data was truncated":
        return "it ends, or an escape in it does, before it is complete"
    return said[:1].lower() + said[1:]


def refusal(error: Exception, text: str | bytes) -> str:
    """Why a text does not hold what it should: it is no JSON, or other JSON."""
    wanted = needed(str(error))
    return unreadable(error, text) if wanted is None else f"{wanted} is needed"
