"""The OpenAPI 3.1 document, made of what the handlers declare and of the types they speak.

Nothing in it is written by hand but the sentences on headers: operations come from
`roles.gateway.operations`, schemas from the Structs that validate requests and render answers,
descriptions from the comments above their fields, and limits of a task from this gateway's
settings.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from khala.model.limits import CASES
from khala.model.spec import Part
from khala.protocol.v2 import Problem
from khala.protocol.v2.problems import PROBLEMS, ProblemCode
from khala.version import VERSION
from roles.gateway.config import GatewayConfig
from roles.gateway.field_texts import texts_of
from roles.gateway.operations import JSON, Answer, Declared, Operation
from roles.gateway.queries import TICKET
from roles.gateway.spec import LimitsSpec
from roles.gateway.spec_limits import bounds_of

Json: TypeAlias = dict[str, Any]

PROBLEM_JSON = "application/problem+json"
_REF = "#/components/schemas/{name}"
_ROUTER_FIELD = re.compile(r"<(\w+):(\w+)>")
_PATHS: dict[str, tuple[Json, str]] = {
    "task_id": ({"type": "string", "pattern": "^[0-9a-f]{24}$"}, "A task."),
    "job_id": ({"type": "string", "pattern": "^[0-9a-f]{24}$"}, "A job."),
    "blob": (
        {"type": "string", "pattern": "^(sha256:)?[0-9a-f]{64}$"},
        "The SHA-256 of the bytes.",
    ),
    "user": (
        {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"},
        "A user, by its name.",
    ),
    "token_id": ({"type": "string", "pattern": "^[0-9a-f]{12}$"}, "A personal token."),
    "upload": ({"type": "string", "pattern": "^[0-9a-f]{24}$"}, "An upload."),
    "number": ({"type": "integer", "minimum": 1, "maximum": CASES}, "A case of a task, from 1."),
    "stream": ({"enum": ["stdout", "stderr"]}, "An output."),
    "part": ({"enum": [part.value for part in Part]}, "A part of what the task was given."),
    "path": ({"type": "string", "minLength": 1}, "Relative to the work directory."),
    "preset": (
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
        "A preset, by its name.",
    ),
    "backup": ({"type": "string", "pattern": "^[0-9a-f]{16}$"}, "A backup."),
    "join_token": (
        {"type": "string", "pattern": "^[0-9a-f]{12}$"},
        "A token to join with, by its id.",
    ),
    "name": (
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
        "An executor, by its name among the nodes.",
    ),
}
_REQUEST_HEADERS: dict[str, tuple[Json, str]] = {
    "Idempotency-Key": (
        {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
        "Makes repeating safe: the same key and document answer with the first one's task.",
    ),
    "traceparent": (
        {"type": "string"},
        "W3C's Trace Context; kept with the task. One that cannot be read is as none.",
    ),
    "If-Match": (
        {"type": "string"},
        "The `ETag` of an answer: nothing is done if what is stored has changed since.",
    ),
    "If-None-Match": ({"type": "string"}, "Tags of earlier answers; 304 if nothing has changed."),
    "Range": ({"type": "string"}, "One range of bytes, as `bytes=0-99`."),
    "Last-Event-ID": ({"type": "string"}, "Of an event stream: the last `id` that arrived."),
    "If-Range": ({"type": "string"}, "The tag that `Range` belongs to."),
    "Upload-Offset": ({"type": "integer", "minimum": 0}, "How many bytes are stored already."),
}
_ANSWER_HEADERS: dict[str, tuple[Json, str]] = {
    "Location": ({"type": "string"}, "The address of what was made."),
    "ETag": ({"type": "string"}, "Changes whenever the answer does."),
    "Link": ({"type": "string"}, 'Addresses of other pages: `rel="next"`.'),
    "Idempotency-Replayed": ({"const": "true"}, "The key was used before; nothing was created."),
    "Content-Disposition": ({"type": "string"}, "The file's name."),
    "Content-Range": ({"type": "string"}, "Which bytes these are."),
    "Upload-Offset": ({"type": "integer"}, "How many bytes of an upload are stored for good."),
    "Set-Cookie": ({"type": "string"}, "The session."),
    "Retry-After": ({"type": "integer"}, "Seconds to wait before repeating."),
    "WWW-Authenticate": ({"type": "string"}, "`Bearer`."),
    "RateLimit": (
        {"type": "string"},
        'What there is room for, as `"default";r=9;t=1`: 9 requests, and one more in a second.',
    ),
    "RateLimit-Policy": (
        {"type": "string"},
        'The limit, as `"default";q=100;w=2`: 100 requests in 2 seconds.',
    ),
}
_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}
#: Any of these; an open gateway asks for none.
_SECURITY: list[Json] = [{}, {"bearer": []}, {"session": []}]


def build_document(declared: Iterable[Declared], config: GatewayConfig) -> Json:
    """The document of this gateway."""
    operations = list(declared)
    kinds = [*dict.fromkeys(_types_of(operations)), Problem]
    refs, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    by_type = dict(zip(kinds, refs, strict=True))
    for kind in _structs_in(kinds):
        _describe(schemas[kind.__name__], kind)
    _bound(schemas[LimitsSpec.__name__], config)
    paths: Json = {}
    for each in operations:
        path = _ROUTER_FIELD.sub(r"{\1}", each.operation.path)
        paths.setdefault(path, {})[each.operation.method.lower()] = _operation(each, by_type)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Khala",
            "version": VERSION,
            "description": "Tasks in sandboxes on a cluster. Errors are problem documents"
            " (RFC 9457); their codes are described at /docs/problems.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": _SECURITY,
        "tags": [{"name": tag} for tag in dict.fromkeys(each.operation.tag for each in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A personal token (`kh_pat_...`), or the gateway's own."
                    " `x-khala-role` is the role that an operation needs. An open gateway needs"
                    " none as long as the cluster has no users.",
                },
                "session": {"type": "apiKey", "in": "cookie", "name": "khala_session"},
                "ticket": {
                    "type": "apiKey",
                    "in": "query",
                    "name": TICKET,
                    "description": "Of `POST /api/v2/tickets`, for one request that only reads.",
                },
            },
        },
    }


def _types_of(operations: Iterable[Declared]) -> Iterator[Any]:
    for each in operations:
        operation = each.operation
        if operation.query is not None:
            yield from (field.type for field in msgspec.structs.fields(operation.query))
        yield from (kind for kind in operation.request.values() if kind is not None)
        for answer in operation.answers.values():
            for body in (answer.body, *answer.others.values()):
                yield from _alternatives(body)


def _alternatives(body: Any) -> tuple[Any, ...]:
    if body is None:
        return ()
    return body if isinstance(body, tuple) else (body,)


def _structs_in(kinds: Iterable[Any]) -> set[type]:
    """Structs and enumerations, at any depth."""
    found: set[type] = set()

    def walk(info: object) -> None:
        if isinstance(info, msgspec.inspect.Field):
            walk(info.type)
        elif isinstance(info, msgspec.inspect.StructType | msgspec.inspect.EnumType):
            if info.cls in found:
                return
            found.add(info.cls)
            for field in getattr(info, "fields", ()):
                walk(field)
        elif isinstance(info, msgspec.inspect.Type):
            for name in info.__struct_fields__:
                inner = getattr(info, name)
                for each in inner if isinstance(inner, tuple) else (inner,):
                    walk(each)

    for kind in kinds:
        walk(msgspec.inspect.type_info(kind))
    return found


def _describe(schema: Json, kind: type) -> None:
    """The docstring as one line, and the comments above the fields."""
    if kind.__doc__:
        schema["description"] = " ".join(inspect.cleandoc(kind.__doc__).split())
    for name, text in texts_of(kind).items():
        written = _written_names(kind).get(name, name)
        if written in schema.get("properties", {}):
            schema["properties"][written].setdefault("description", text)
    if "enum" in schema:
        meanings = {
            member.value: texts_of(kind)[member.name]
            for member in kind  # type: ignore[attr-defined]
            if member.name in texts_of(kind)
        }
        if meanings:
            lines = "; ".join(f"`{value}`: {text}" for value, text in meanings.items())
            schema["description"] = f"{schema.get('description', '')} {lines}".strip()


def _written_names(kind: type) -> dict[str, str]:
    """Of the fields of a Struct: `from` is no name in Python."""
    if not issubclass(kind, msgspec.Struct):
        return {}
    return dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))


def _bound(schema: Json, config: GatewayConfig) -> None:
    """Numbers within what this gateway allows; texts are the same in other units."""
    for name, (least, most) in bounds_of(config).items():
        for kind in schema["properties"][name]["anyOf"]:
            if kind["type"] in ("integer", "number"):
                whole = kind["type"] == "integer"
                kind["minimum"] = math.ceil(least) if whole else least
                kind["maximum"] = math.floor(most) if whole else most


def _operation(each: Declared, by_type: dict[Any, Json]) -> Json:
    operation = each.operation
    summary, _, description = each.text.partition(". ")
    built: Json = {
        "operationId": each.name,
        "tags": [operation.tag],
        "summary": summary.rstrip("."),
        # The least one that may; it is asked for once the cluster has users.
        "x-khala-role": None if operation.anyone else operation.needs.value,
        "parameters": [*_path_parameters(operation), *_parameters(operation, by_type)],
        "responses": {
            **{str(code): _answer(code, answer, by_type) for code, answer in _sorted(operation)},
            **_problems(operation),
        },
    }
    if operation.anyone:
        built["security"] = []
    elif operation.safe:
        built["security"] = [*_SECURITY, {"ticket": []}]
    if description:
        built["description"] = description
    if operation.request:
        built["requestBody"] = {
            "required": not operation.body_optional,
            "content": {
                content: _body(content, kind, by_type)
                for content, kind in operation.request.items()
            },
        }
    return built


def _sorted(operation: Operation) -> list[tuple[int, Answer]]:
    return sorted(operation.answers.items())


def _path_parameters(operation: Operation) -> Iterator[Json]:
    for name, _ in _ROUTER_FIELD.findall(operation.path):
        schema, text = _PATHS[name]
        yield {"name": name, "in": "path", "required": True, "schema": schema, "description": text}


def _parameters(operation: Operation, by_type: dict[Any, Json]) -> Iterator[Json]:
    query = operation.query
    for field in msgspec.structs.fields(query) if query else ():
        schema = _required(by_type[field.type])
        parameter: Json = {"name": field.encode_name, "in": "query", "schema": schema}
        if query is not None and field.name in texts_of(query):
            parameter["description"] = texts_of(query)[field.name]
        if schema.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        yield parameter
    for name in operation.headers:
        schema, text = _REQUEST_HEADERS[name]
        yield {"name": name, "in": "header", "schema": schema, "description": text}


def _required(schema: Json) -> Json:
    """A parameter is there or not; there is no way to write null in a query."""
    kinds = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if not kinds:
        return schema
    outside = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**outside, **kinds[0]} if len(kinds) == 1 else {**outside, "anyOf": kinds}


def _body(content: str, kind: Any, by_type: dict[Any, Json]) -> Json:
    if content != "multipart/form-data":
        return {"schema": by_type[kind] if kind is not None else {}}
    return {
        "schema": {
            "type": "object",
            "required": ["spec"],
            "properties": {"spec": by_type[kind]},
            # Files, under the names by which the document refers to them.
            "additionalProperties": {"type": "string", "format": "binary"},
        },
        "encoding": {"spec": {"contentType": JSON}},
    }


def _answer(status: int, answer: Answer, by_type: dict[Any, Json]) -> Json:
    built: Json = {"description": HTTPStatus(status).phrase}
    if answer.headers:
        built["headers"] = {name: _header(name) for name in answer.headers}
    if answer.content:
        forms = {answer.content: answer.body, **answer.others}
        built["content"] = {content: _form(body, by_type) for content, body in forms.items()}
    return built


def _form(body: Any, by_type: dict[Any, Json]) -> Json:
    schemas = [by_type[kind] for kind in _alternatives(body)]
    if not schemas:
        return {}
    return {"schema": {"anyOf": schemas} if len(schemas) > 1 else schemas[0]}


def _header(name: str) -> Json:
    schema, text = _ANSWER_HEADERS[name]
    return {"schema": schema, "description": text}


def _problems(operation: Operation) -> Json:
    by_status: dict[int, list[ProblemCode]] = {}
    for code in operation.all_problems:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {PROBLEMS[code].happened}" for code in codes),
            **({"headers": {name: _header(name) for name in headers}} if headers else {}),
            "content": {
                PROBLEM_JSON: {
                    "schema": {
                        "allOf": [{"$ref": _REF.format(name=Problem.__name__)}],
                        "properties": {
                            "status": {"const": status},
                            "code": {"enum": [code.value for code in codes]},
                        },
                    }
                }
            },
        }
        for status, codes in sorted(by_status.items())
        for headers in [_PROBLEM_HEADERS.get(status)]
    }
