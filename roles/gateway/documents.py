"""Bodies in JSON, read into the Struct that describes them; the first that is wrong with one that
cannot be is told as all other faults are: by pointer, limit and value.

msgspec says both the place and the fault in a sentence of its own, which is taken apart here.
"""

from __future__ import annotations

import re
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import inspect

from khala.model.decoding import needed, shown, unreadable
from khala.model.errors import Rejected
from khala.protocol.v2 import Issue, IssueCode
from roles.gateway.issues import Invalid, scalar_of, step

Document = TypeVar("Document")
_Tokens: TypeAlias = list[str | int]

_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?\Z", re.DOTALL)
_PATH = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_FIELD = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`\Z", re.DOTALL)
_BOUND = re.compile(
    r"Expected `(?P<kind>\w+)`(?P<length> of length)? (?P<side>[<>]=) (?P<bound>-?[0-9.e+]+)\Z"
)
_PATTERN = re.compile(r"Expected `str` matching regex (?P<pattern>.*)\Z", re.DOTALL)
_COUNTED = {"array": "items", "object": "keys", "str": "characters"}


def parse_document(decoder: msgspec.json.Decoder[Document], body: bytes) -> Document:
    """Raise `Rejected` if it is not JSON, `Invalid` if it is another document."""
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            # The first fault may come before what makes the rest unreadable.
            issue = _issue_of(str(error), msgspec.json.decode(body), decoder.type)
            raise Invalid([issue]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = unreadable(error, body)
        raise Rejected(f"the document is not readable as JSON: {why}") from error


def _issue_of(message: str, document: object, kind: object) -> Issue:
    found = _WHERE.match(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    tokens: _Tokens = [name or int(index) for name, index in _PATH.findall(path)]
    pointer = "".join(map(step, tokens))
    if field := _FIELD.match(what):
        unknown = what.startswith("Object contains")
        return Issue(
            pointer=pointer + step(field[1]),
            code=IssueCode.UNKNOWN_FIELD if unknown else IssueCode.MISSING_FIELD,
            detail="there is no such field" if unknown else "this field is needed",
        )
    given = _find(document, tokens)
    if bound := _BOUND.match(what):
        return _beyond(bound, pointer, given)
    if pattern := _PATTERN.match(what):
        detail = f"{_shown(given)} is not of the form {pattern['pattern']}"
        code, limit = IssueCode.INVALID_VALUE, None
    elif members := _members(inspect.type_info(kind), tokens):
        detail = f"{_shown(given)} is none of {', '.join(members)}"
        code, limit = IssueCode.INVALID_VALUE, None
        if not isinstance(given, str):
            code = IssueCode.WRONG_TYPE
    else:
        wanted = needed(what)
        detail = what[:1].lower() + what[1:]
        if wanted is not None:
            detail = f"{wanted} is needed, {_shown(given)} was given"
        wrong = what.startswith("Expected")
        code, limit = IssueCode.WRONG_TYPE if wrong else IssueCode.INVALID_VALUE, None
    return Issue(pointer=pointer, code=code, detail=detail, limit=limit, given=scalar_of(given))


def _shown(given: object) -> str:
    short = scalar_of(given)
    return shown(given if short is None else short)


def _beyond(bound: re.Match[str], pointer: str, given: object) -> Issue:
    """More or less than a constraint of the type allows."""
    limit = float(bound["bound"])
    shown = int(limit) if limit == int(limit) else limit
    least = bound["side"] == ">="
    side = "less than the minimum of" if least else "more than the maximum of"
    if not bound["length"]:
        code = IssueCode.BELOW_MINIMUM if least else IssueCode.ABOVE_MAXIMUM
        detail = f"{scalar_of(given)} is {side} {shown}"
        return Issue(pointer=pointer, code=code, detail=detail, limit=shown, given=scalar_of(given))
    size = len(given) if isinstance(given, str | list | dict) else 0
    code = IssueCode.TOO_LONG if bound["kind"] == "str" else IssueCode.TOO_MANY
    if least:
        code = IssueCode.INVALID_VALUE
    detail = f"{size} {_COUNTED.get(bound['kind'], 'items')} are {side} {shown}"
    return Issue(pointer=pointer, code=code, detail=detail, limit=shown, given=size)


def _members(info: inspect.Type, tokens: _Tokens) -> list[str]:
    """What is possible at this place, if that is a closed list."""
    if isinstance(info, inspect.UnionType):
        return [each for kind in info.types for each in _members(kind, tokens)]
    if not tokens:
        if isinstance(info, inspect.EnumType):
            return [str(member.value) for member in info.cls]
        return list(map(str, info.values)) if isinstance(info, inspect.LiteralType) else []
    token, rest = tokens[0], tokens[1:]
    if isinstance(info, inspect.StructType):
        fields = [field.type for field in info.fields if field.encode_name == token]
        return _members(fields[0], rest) if fields else []
    if isinstance(info, inspect.VarTupleType | inspect.ListType):
        return _members(info.item_type, rest)
    return _members(info.type, tokens) if isinstance(info, inspect.Metadata) else []


def _find(found: object, tokens: _Tokens) -> object:
    """What stands at the place that was refused."""
    for token in tokens:
        if isinstance(found, dict) and isinstance(token, str):
            found = found.get(token)
        elif isinstance(found, list) and isinstance(token, int) and token < len(found):
            found = found[token]
    return found
