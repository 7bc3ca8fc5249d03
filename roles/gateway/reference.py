"""The second API describing itself: the OpenAPI document, and the same as pages for people.

The pages are rendered from the document when a gateway starts, without a script and without
anything from a network, so they say what this gateway does, with its own limits.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any, TypeAlias

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.net.httpd import Routes
from khala.protocol.v2 import PROBLEMS
from roles.gateway.config import GatewayConfig
from roles.gateway.openapi import build_document
from roles.gateway.operations import JSON, Answer, Operation, declare, declared_by
from roles.gateway.pages import NOSNIFF, PROBLEMS_PAGE

Json: TypeAlias = dict[str, Any]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code{font-family:ui-monospace,monospace}h2{margin-top:2.5rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
    "padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}.m{font-weight:700}"
)
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_HEADERS = {
    **NOSNIFF,
    "Cache-Control": "no-cache",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " frame-ancestors 'none'; base-uri 'none'",
}
_CODE = re.compile(r"`([^`]*)`")


class Reference:
    """The handlers; `kinds` are the classes whose operations are described."""

    def __init__(self, kinds: Iterable[type], config: GatewayConfig) -> None:
        document = build_document(declared_by(kinds), config)
        self.document = msgspec.json.encode(document)
        self._api = _page("The API of this gateway", _api(document))
        self._problems = _page("What went wrong", _problems())

    def register_pages(self, routes: Routes) -> None:
        routes.add("GET", "/docs", self.answer_api)
        routes.add("GET", PROBLEMS_PAGE, self.answer_problems)

    @declare(
        Operation(
            method="GET",
            path="/api/v2/openapi.json",
            tag="Reference",
            answers={200: Answer(dict[str, Any])},
        )
    )
    async def get_openapi(self, _: Request) -> HTTPResponse:
        """Read this document."""
        headers = {**NOSNIFF, "Cache-Control": "no-cache"}
        return HTTPResponse(self.document, headers=headers, content_type=JSON)

    async def answer_api(self, _: Request) -> HTTPResponse:
        return _html(self._api)

    async def answer_problems(self, _: Request) -> HTTPResponse:
        return _html(self._problems)


def _html(body: str) -> HTTPResponse:
    return HTTPResponse(body, headers=_PAGE_HEADERS, content_type="text/html; charset=utf-8")


def _page(title: str, parts: Iterable[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)} - Khala</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n{''.join(parts)}</html>\n"
    )


def _problems() -> Iterator[str]:
    yield (
        "<p>Errors of <code>/api/v2</code> are <code>application/problem+json</code> (RFC 9457)."
        " These are their codes.</p>\n"
    )
    for code, meaning in PROBLEMS.items():
        yield (
            f'<h2 id="{code}"><code>{code}</code> ({meaning.status})</h2>\n'
            f"<p>{_text(meaning.happened)} {_text(meaning.next_step)}</p>\n"
        )


def _api(document: Json) -> Iterator[str]:
    yield (
        '<p>The same for programs: <a href="/api/v2/openapi.json">/api/v2/openapi.json</a>'
        f' (OpenAPI 3.1). Codes of errors: <a href="{PROBLEMS_PAGE}">{PROBLEMS_PAGE}</a>.</p>\n'
    )
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>\n"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(f"{method.upper()} {path}", operation)
    yield "<h2>Types</h2>\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from _schema(name, schema)


def _operation(heading: str, operation: Json) -> Iterator[str]:
    yield f'<h3 id="{operation["operationId"]}"><code>{escape(heading)}</code></h3>\n'
    role = operation["x-khala-role"]
    needs = f" For the role <code>{role}</code>." if role else ""
    text = f"{_text(operation['summary'])}. {_text(operation.get('description', ''))}"
    yield f"<p>{text}{needs}</p>\n"
    rows = [
        (each["name"], each["in"], _kind(each["schema"]), each.get("description", ""))
        for each in operation["parameters"]
    ]
    for content, body in operation.get("requestBody", {}).get("content", {}).items():
        rows.append(("body", content, _kind(body["schema"]), ""))
    if rows:
        yield _table(rows)
    yield _table(
        [
            (status, ", ".join(answer.get("content", {})), _answered(answer), answer["description"])
            for status, answer in operation["responses"].items()
        ]
    )


def _answered(answer: Json) -> str:
    return " ".join(_kind(media.get("schema", {})) for media in answer.get("content", {}).values())


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f'<h3 id="{name}"><code>{name}</code></h3>\n<p>{_text(schema.get("description", ""))}</p>'
    if "enum" in schema:
        yield f"<p>{', '.join(f'<code>{escape(str(each))}</code>' for each in schema['enum'])}</p>"
    needed = schema.get("required", ())
    rows = [
        (field, "needed" if field in needed else "", _kind(kind), kind.get("description", ""))
        for field, kind in schema.get("properties", {}).items()
    ]
    if rows:
        yield _table(rows)


def _table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """The third column is HTML already."""
    cells = (
        f"<tr><td><code>{escape(name)}</code><td>{escape(what)}<td>{kind}<td>{_text(text)}</tr>\n"
        for name, what, kind, text in rows
    )
    return f"<table>\n{''.join(cells)}</table>\n"


def _kind(schema: Json) -> str:
    """A type in a few words of HTML, with links to the named ones."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    for joined in ("anyOf", "allOf"):
        if joined in schema:
            return " or ".join(_kind(each) for each in schema[joined])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "properties" in schema:
        return ", ".join(_kind(each) for each in schema["properties"].values())
    bounds = [
        f"{word} {schema[key]:g}"
        for key, word in (("minimum", "from"), ("maximum", "to"))
        if key in schema
    ]
    return " ".join([escape(str(schema.get("type", schema.get("const", "any")))), *bounds])


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))
