"""Whether an answer of a gateway is one that its OpenAPI document has.

Used beside other tests, on every answer that they get: a route, a status, a code or a field that
is not in the document fails the test that met it.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs

#: What the document describes; KV2's interface, the probes and the pages are not of it.
PREFIX = "/api/v2/"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Contract:
    """Made of the document that a gateway serves."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._paths = [
            (re.compile(_pattern(path)), path, methods)
            for path, methods in document["paths"].items()
        ]
        # The exact ones first: `/tasks/actions` is no id.
        self._paths.sort(key=lambda each: each[1].count("{"))
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def check(self, method: str, url: str, status: int, content_type: str, body: bytes) -> None:
        """`body` of an answer that was read; of a stream, nothing."""
        path = urlsplit(url).path
        if not path.startswith(PREFIX) or method == "OPTIONS":
            return
        found = [each for each in self._paths if each[0].fullmatch(path)]
        if not found:
            assert status in (401, 403, 404, 421), f"{method} {path} is in no document"
            return
        methods = found[0][2]
        operation = methods.get("get" if method == "HEAD" else method.lower())
        if operation is None:
            assert status in (401, 403, 405, 421), f"{method} {path} is in no document"
            return
        where = f"{method} {found[0][1]} {status}"
        answer = operation["responses"].get(str(status))
        assert answer is not None, f"{where} is not in the document"
        content = answer.get("content", {})
        if method == "HEAD" or not body:
            return
        kind = content_type.partition(";")[0]
        assert kind in content, f"{where}: {kind} is not in the document"
        schema = content[kind].get("schema")
        if schema and kind.endswith("json"):
            # Of NDJSON each line is a document.
            for document in body.splitlines() if kind.endswith("ndjson") else [body]:
                self._validate(schema, json.loads(document), f"{where} {kind}")

    def _validate(self, schema: dict[str, Any], value: object, where: str) -> None:
        validator = self._validators.get(where)
        if validator is None:
            whole = {"$schema": DIALECT, "components": self.document["components"], **schema}
            validator = self._validators[where] = jsonschema_rs.validator_for(whole)
        faults = [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(value)]
        assert not faults, f"{where}: {faults[:5]}"


def _pattern(path: str) -> str:
    """Of a path in the document; only the last variable of one may hold slashes."""
    pieces = re.split(r"\{(\w+)\}", path)
    return "".join(
        re.escape(piece) if index % 2 == 0 else (".+" if piece == "path" else "[^/]+")
        for index, piece in enumerate(pieces)
    )
