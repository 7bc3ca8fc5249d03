"""Forms are read as every other server reads them, and refused when they are none."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlencode

import pytest
from aiohttp import FormData
from hypothesis import given
from hypothesis import strategies as st

from khala.model.errors import Rejected
from roles.gateway import forms
from roles.gateway.forms import FIELDS_MAX, Form, parse_form

URLENCODED = "application/x-www-form-urlencoded"
BOUNDARY = "xyz"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def part(header: str, content: bytes) -> bytes:
    return (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {header}\r\n\r\n".encode()
        + content
        + b"\r\n"
    )


def multipart(*parts: bytes) -> Form:
    return parse_form(MULTIPART, b"".join(parts) + f"--{BOUNDARY}--\r\n".encode())


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=8))
def test_urlencoded_fields_come_back(fields: dict[str, str]) -> None:
    assert parse_form(URLENCODED, urlencode(fields).encode()).texts == fields


@given(
    st.lists(st.sampled_from([b"%", b"=", b"+", b" ", b"\t", b"\r", b"\n", b"a", b"4", b"\xff"]))
)
def test_escapes_are_read_as_the_standard_library_reads_them(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    assert forms._unquote(value) == unquote_to_bytes(value.replace(b"+", b" "))


@given(st.binary(max_size=200))
def test_file_parts_are_exact(content: bytes) -> None:
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + content:
        return
    form = multipart(part('name="f"; filename="a.zip"', content), part('name="t"', b"text"))
    assert form.files == {"f": content}
    assert form.texts == {"t": "text"}


async def test_a_client_libraries_form_is_read() -> None:
    data = FormData(quote_fields=False)
    data.add_field("user", "0")
    data.add_field("compile_source", b"\x00\r\n\xff", filename="s.zip")
    data.add_field("execute_input", "naïve\r\ntext")
    body = data()
    form = parse_form(body.headers["Content-Type"], await body.as_bytes())
    assert form.texts == {"user": "0", "execute_input": "naïve\r\ntext"}
    assert form.files == {"compile_source": b"\x00\r\n\xff"}


def test_an_empty_file_name_is_no_file() -> None:
    form = multipart(part('name="f"; filename=""', b""))
    assert form.files == {}
    assert form.texts == {}


def test_an_encoded_file_name_is_a_file_name() -> None:
    form = multipart(part("name=f; filename*=UTF-8''%e2%82%ac.zip", b"x"))
    assert form.files == {"f": b"x"}


def test_the_first_of_equal_names_counts() -> None:
    assert parse_form(URLENCODED, b"a=1&a=2").texts == {"a": "1"}
    assert multipart(part('name="a"', b"1"), part('name="a"', b"2")).texts == {"a": "1"}


def test_quotes_in_names_are_unescaped() -> None:
    assert multipart(part('name="a\\"b"', b"1")).texts == {'a"b': "1"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("", b"a=b"),
        ("multipart/form-data", b"--xyz--"),
        (MULTIPART, b""),
        (MULTIPART, b"nothing"),
        (MULTIPART, b"--xyz\r\nno header end"),
        (MULTIPART, b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\ncut'),
        (MULTIPART, part('name="a"', b"\xff") + b"--xyz--"),
        (MULTIPART, part('name="a"', b"") * (FIELDS_MAX + 1) + b"--xyz--"),
        (URLENCODED, b"&" * (FIELDS_MAX + 1)),
        (URLENCODED, b"a=%ff"),
        (URLENCODED, b"a=" + b"%" * 20_000),
    ],
)
def test_what_is_no_form_is_rejected(content_type: str, body: bytes) -> None:
    with pytest.raises(Rejected):
        parse_form(content_type, body)
