"""Parameters of an address, out of its query and into the Struct that describes them.

The Struct is also what the OpenAPI document says, so a parameter cannot be described otherwise
than it is read.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import EnumMeta
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from sanic import Request

from khala.model.decoding import needed
from khala.model.errors import Rejected

#: The guard's, at every address that only reads; of a request it has let in it says nothing.
TICKET = "ticket"
Query = TypeVar("Query", bound=Struct)
#: Characters of a value that is repeated to its sender.
_GIVEN_CHARS = 80
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:[0-5][0-9])?)?\Z"
)


def read_query(request: Request, kind: type[Query]) -> Query:
    """Raise `Rejected` naming the first parameter that is not as it must be."""
    if not request.query_string:
        return kind()
    return parse_query(given_in(request), kind)


def given_in(request: Request) -> dict[str, str]:
    """The query as it was written, but for a ticket; one without a value is one with an empty
    value."""
    args = request.get_args(keep_blank_values=True)
    return {name: str(values[0]) for name, values in args.items() if name != TICKET}


def parse_query(given: dict[str, str], kind: type[Query]) -> Query:
    """Names that `kind` does not have are none of its business."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        text = given.get(field.encode_name)
        if text is not None:
            values[field.name] = _parse(text, field.encode_name, _present(field.type))
    return kind(**values)


def _parse(text: str, name: str, kind: Any) -> Any:
    plain = plain_type(kind)
    if plain is datetime:
        return _parse_time(text, name)
    value: Any = text
    listed = get_origin(plain) is tuple
    if listed:
        value = tuple(word.strip() for word in text.split(","))
    try:
        found = msgspec.convert(value, kind, strict=False)
        return tuple(dict.fromkeys(found)) if listed else found
    except msgspec.ValidationError as error:
        wanted = _members(plain) or needed(str(error)) or "another value"
        raise Rejected(
            f"{name}: {wanted} is needed; {text[:_GIVEN_CHARS]!r} was given", field=name
        ) from None


def _present(kind: Any) -> Any:
    """The type of a parameter that is there: the text `null` is no way to leave it out."""
    members = get_args(kind)
    if NoneType not in members or get_origin(kind) not in (Union, UnionType):
        return kind
    [present] = [each for each in members if each is not NoneType]
    return present


def _parse_time(text: str, name: str) -> datetime:
    """Without a zone it is UTC."""
    try:
        if _TIME.match(text):
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise Rejected(
        f"{name}: a date such as 2026-11-24 or 2026-11-24T00:04:08Z is needed;"
        f" {text[:_GIVEN_CHARS]!r} was given",
        field=name,
    )


def plain_type(kind: Any) -> Any:
    """Without annotations."""
    if get_origin(kind) is Annotated:
        return plain_type(get_args(kind)[0])
    return kind


def _members(plain: Any) -> str:
    """Of an enumeration, or a list of its members: what is possible."""
    member = get_args(plain)[0] if get_origin(plain) is tuple else plain
    if isinstance(member, EnumMeta):
        some = "one or more" if member is not plain else "one"
        return f"{some} of {', '.join(map(str, member))}"
    return ""
