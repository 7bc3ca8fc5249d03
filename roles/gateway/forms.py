"""Forms as browsers and curl send them: urlencoded or multipart, at most `FIELDS_MAX` fields.

Sanic could parse them, but its parser has no bound on parts, and swallows what it cannot read. A
body may be as large as the gateway's limit, so every step here is linear, runs in C over the whole
body, and keeps no more copies than it must.
"""

from __future__ import annotations

import binascii
import re
from email.message import Message

from msgspec import Struct

from khala.model.errors import Rejected

#: KV2's form has 13; more than this is not a form of ours.
FIELDS_MAX = 64
#: Header lines of one part.
PART_HEADER_BYTES = 8 * 1024
#: Percent signs that start no escape are kept as they are, as everywhere; a body full of them is
#: no form.
STRAY_PERCENTS_MAX = 10_000

_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Form(Struct, frozen=True, kw_only=True):
    """Fields by name; of several with one name the first counts, as in KV2."""

    texts: dict[str, str]
    #: Contents of the parts that came with a file name that is not empty.
    files: dict[str, bytes]


def parse_form(content_type: str, body: bytes) -> Form:
    """Raise `Rejected` for anything that is not a form."""
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_type()
    if kind == "application/x-www-form-urlencoded":
        return Form(texts=_parse_urlencoded(body), files={})
    if kind == "multipart/form-data":
        boundary = header.get_param("boundary", "")
        if not isinstance(boundary, str) or not 0 < len(boundary) <= 200:
            raise Rejected("Content-Type: a multipart form names its boundary")
        return _parse_multipart(boundary.encode("utf-8", "replace"), body)
    raise Rejected(
        "Content-Type: application/x-www-form-urlencoded or multipart/form-data is expected,"
        f" {kind[:80]!r} was given"
    )


def _parse_urlencoded(body: bytes) -> dict[str, str]:
    if body.count(b"&") >= FIELDS_MAX:
        raise Rejected(f"form: it has more than {FIELDS_MAX} fields")
    texts: dict[str, str] = {}
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name:
            texts.setdefault(_text(_unquote(name)), _text(_unquote(value)))
    return texts


def _unquote(value: bytes) -> bytes:
    """`urllib.parse.unquote_to_bytes` for large values: there, each escape costs an object."""
    value = value.replace(b"+", b" ")
    if b"%" not in value:
        return value
    value, strays = _STRAY_PERCENT.subn(b"%25", value, STRAY_PERCENTS_MAX + 1)
    if strays > STRAY_PERCENTS_MAX:
        raise Rejected("form: it is not urlencoded")
    # Quoted-printable is the same code with another sign, and the standard library has it in C.
    return binascii.a2b_qp(value.replace(b"=", b"%3D").replace(b"%", b"="))


def _parse_multipart(boundary: bytes, body: bytes) -> Form:
    delimiter = b"\r\n--" + boundary
    # The first delimiter may have nothing before it.
    start = 0 if body.startswith(delimiter[2:]) else body.find(delimiter)
    if start < 0:
        raise Rejected("form: its boundary does not appear in it")
    position = start + len(delimiter) - (2 if start == 0 else 0)
    texts: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for _ in range(FIELDS_MAX):
        if body.startswith(b"--", position):
            return Form(texts=texts, files=files)
        end = body.find(delimiter, position)
        if end < 0:
            raise Rejected("form: it ends in the middle of a field")
        _take_part(body, position, end, Form(texts=texts, files=files))
        position = end + len(delimiter)
    raise Rejected(f"form: it has more than {FIELDS_MAX} fields")


def _take_part(body: bytes, start: int, end: int, form: Form) -> None:
    """`body[start:end]` is CRLF, header lines, an empty line, and the content."""
    split = body.find(b"\r\n\r\n", start, min(end, start + PART_HEADER_BYTES))
    if split < 0:
        raise Rejected("form: a field has no complete header")
    name, file_name = _disposition(body[start:split])
    if name is None:
        return
    content = body[split + 4 : end]
    if file_name is None:
        form.texts.setdefault(name, _text(content))
    elif file_name:
        form.files.setdefault(name, content)


_DISPOSITION = re.compile(rb"\r\ncontent-disposition:[ \t]*form-data([^\r\n]*)", re.IGNORECASE)
#: `; name="..."` with backslash escapes, or a bare token; `filename*` counts as a file name.
_PARAMETER = re.compile(
    rb';[ \t]*([a-z*]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))', re.IGNORECASE
)


def _disposition(header: bytes) -> tuple[str | None, str | None]:
    """Name and file name of a part."""
    found = _DISPOSITION.search(header)
    if found is None:
        return None, None
    values: dict[bytes, str] = {}
    for key, quoted, bare in _PARAMETER.findall(found.group(1)):
        value = re.sub(rb"\\(.)", rb"\1", quoted) or bare
        values[key.lower().rstrip(b"*")] = value.decode("utf-8", "replace")
    return values.get(b"name"), values.get(b"filename")


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected("form: a text field is not UTF-8; send bytes as a zip file") from error
