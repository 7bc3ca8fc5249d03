"""Every field of every request document, found in the document that the gateway serves, is given
what it must not hold: another type, less than its least, more than its most, too much, another
form, an unknown neighbour. Each is refused at its own pointer, with the limit and the value.

A new field is walked without a line here. One whose bounds are not described is a failure, too:
whoever reads the description could not know them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from tests.unit.gateway.conftest import MAX_BODY, Site
from tests.unit.gateway.test_v2_acts import ended

Json: TypeAlias = Any
Steps: TypeAlias = tuple[str | int, ...]

#: One of each type of JSON; what a field does not take is offered to it.
SAMPLES: dict[str, Json] = {
    "string": "walked",
    "integer": 7,
    "number": 7.5,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}
#: Bytes of the task are as many as the body may have; the name of a part is one it has.
UNBOUNDED = ("text", "base64", "part")
KEY = "walked"
#: Neighbours without which a field is refused as such.
COMPANIONS: dict[str, Json] = {"check": {"mode": "program", "command": "./check"}}
JOB = "6b04d4787d852fb9eb000000"
JSON = {"Content-Type": "application/json"}
#: Texts; the first that has the form of a field is put there.
SMALL = ("true", "walked=1")
ALTERNATIVES = ("anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class Fault:
    """A document with one fault, and how it should be told."""

    kind: str
    at: Steps
    value: Json
    code: str
    limit: Json = None
    #: What should be repeated; `...` where that is not said.
    given: Json = ...


class Walk:
    """The documents that one schema describes."""

    def __init__(self, document: Json, walked: frozenset[str] = frozenset()) -> None:
        self._schemas = document["components"]["schemas"]
        #: Documents that are walked by themselves; within others one step is enough.
        self._walked = walked
        self.undescribed: list[str] = []

    def resolve(self, schema: Json) -> Json:
        while "$ref" in schema:
            outside = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**self._schemas[schema["$ref"].rpartition("/")[2]], **outside}
        return schema

    def kinds(self, schema: Json) -> list[Json]:
        """Its alternatives, each of one type."""
        schema = self.resolve(schema)
        for word in ALTERNATIVES:
            if word in schema:
                outside = {name: value for name, value in schema.items() if name != word}
                return [kind for each in schema[word] for kind in self.kinds({**outside, **each})]
        return [schema]

    def smallest(self, schema: Json) -> Json:
        """What it takes, with nothing that may be left out."""
        kind = next(each for each in self.kinds(schema) if each.get("type") != "null")
        if "enum" in kind:
            return kind["enum"][0]
        match kind.get("type"):
            case "object":
                properties = kind.get("properties", {})
                return {name: self.smallest(properties[name]) for name in kind.get("required", ())}
            case "array":
                return [self.smallest(kind["items"])] * kind.get("minItems", 0)
            case "integer" | "number":
                return max(kind.get("minimum", 0), 0)
            case "boolean":
                return True
        fits = (text for text in SMALL if re.search(kind.get("pattern", ""), text))
        return next(fits, SMALL[0])

    def faults(self, schema: Json, at: Steps = ()) -> Iterator[Fault]:
        kinds = self.kinds(schema)
        yield from self._of_other_types(kinds, at)
        floats = any(kind.get("type") == "number" for kind in kinds)
        for kind in kinds:
            if floats and kind.get("type") == "integer":
                continue  # its bounds are those of the other, rounded
            match kind.get("type") or type_of(kind["enum"][0]):
                case "object":
                    yield from self._of_object(kind, at)
                case "array":
                    yield from self._of_array(kind, at)
                case "integer" | "number":
                    yield from self._of_number(kind, at)
                case "string":
                    numeric = any(each.get("type") in ("integer", "number") for each in kinds)
                    yield from self._of_text(kind, at, amount=numeric)

    def _of_other_types(self, kinds: list[Json], at: Steps) -> Iterator[Fault]:
        takes = {kind.get("type") or type_of(kind["enum"][0]) for kind in kinds}
        if "number" in takes:
            takes.add("integer")
        for name, sample in SAMPLES.items():
            if name not in takes and at:
                given = sample if name not in ("array", "object") else None
                yield Fault("another type", at, sample, "wrong_type|invalid_value", given=given)

    def _of_object(self, kind: Json, at: Steps) -> Iterator[Fault]:
        inside = self.smallest(kind)
        for name in kind.get("required", ()):
            without = {key: value for key, value in inside.items() if key != name}
            yield Fault("missing", (*at, name), Missing(at, without), "missing_field")
        if "properties" in kind:
            yield Fault("unknown", (*at, "walked_unknown"), 1, "unknown_field")
            if at and kind.get("title") in self._walked:
                return
            for name, schema in kind["properties"].items():
                yield from self.faults(schema, (*at, name))
            return
        if kind.get("x-part-of") in self._walked:
            return
        most = kind.get("maxProperties")
        if most is None or "propertyNames" not in kind:
            self.undescribed.append(f"{pointer_of(at)}: how many keys, of which form?")
            return
        value = self.smallest(kind["additionalProperties"])
        many = {f"{KEY}{number}": value for number in range(most + 1)}
        yield Fault("too many keys", at, many, "too_many", limit=most, given=most + 1)
        assert not re.search(kind["propertyNames"]["pattern"], "-")
        yield Fault("another key", (*at, "-"), value, "invalid_value", given="-")
        yield from self.faults(kind["additionalProperties"], (*at, KEY))

    def _of_array(self, kind: Json, at: Steps) -> Iterator[Fault]:
        if "maxItems" not in kind:
            self.undescribed.append(f"{pointer_of(at)}: how many items?")
            return
        most, least = kind["maxItems"], kind.get("minItems", 0)
        item = self.smallest(kind["items"])
        if 2 * most < MAX_BODY:  # else no body has as many
            many = [item] * (most + 1)
            yield Fault("too many", at, many, "too_many", limit=most, given=most + 1)
        if least:
            few = [item] * (least - 1)
            yield Fault("too few", at, few, "missing_field|invalid_value", given=least - 1)
        yield from self.faults(kind["items"], (*at, 0))

    def _of_number(self, kind: Json, at: Steps) -> Iterator[Fault]:
        if "minimum" not in kind or "maximum" not in kind:
            self.undescribed.append(f"{pointer_of(at)}: from where to where?")
            return
        least, most = kind["minimum"], kind["maximum"]
        below = least - 1 if least == int(least) else least / 2
        for value, code, limit in (
            (below, "below_minimum|invalid_value", least),
            (most + 1, "above_maximum", most),
        ):
            # A negative amount of anything is no amount; the limit need not be told.
            told = ... if value < 0 and limit >= 0 else limit
            yield Fault("beyond", at, value, code, limit=told, given=value)

    def _of_text(self, kind: Json, at: Steps, *, amount: bool) -> Iterator[Fault]:
        name = at[-1] if at else ""
        if "enum" in kind or amount:
            yield Fault("another form", at, "walked", "invalid_value", given="walked")
            return
        most, pattern = kind.get("maxLength"), kind.get("pattern")
        if most is None and pattern is None and name not in UNBOUNDED and not kind.get("format"):
            self.undescribed.append(f"{pointer_of(at)}: how long?")
        if most is not None:
            value = "w" * (most + 1)
            yield Fault("too long", at, value, "too_long|invalid_value", limit=most)
        if kind.get("format"):
            yield Fault("another form", at, "walked", "wrong_type|invalid_value", given="walked")
        if pattern is not None:
            value = next(text for text in (" ", "-", "") if not re.search(pattern, text))
            yield Fault("another form", at, value, "invalid_value", given=value)


@dataclass(frozen=True, slots=True)
class Missing:
    """The object around a field, without it."""

    at: Steps
    value: Json


def type_of(value: Json) -> str:
    return "string" if isinstance(value, str) else "null"


def pointer_of(at: Steps) -> str:
    return "".join(f"/{step}" for step in at)


def document_with(walk: Walk, schema: Json, fault: Fault) -> Json:
    """The smallest document that has this value in this place."""
    at, value = fault.at, fault.value
    if isinstance(value, Missing):
        at, value = value.at, value.value
    return _placed(walk, schema, at, value)


def _placed(walk: Walk, schema: Json, at: Steps, value: Json) -> Json:
    if not at:
        return value
    name, rest = at[0], at[1:]
    kinds = [kind for kind in walk.kinds(schema) if kind.get("type") in ("object", "array")]
    if isinstance(name, int):
        return [_placed(walk, kinds[0]["items"], rest, value)]
    properties = kinds[0].get("properties", {})
    inner = properties.get(name) or kinds[0].get("additionalProperties") or {}
    whole = walk.smallest(kinds[0])
    placed = _placed(walk, inner, rest, value)
    if name in COMPANIONS and isinstance(placed, dict):
        placed = {**COMPANIONS[name], **placed}
    whole[name] = placed
    return whole


def documents(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                yield method, path, content["application/json"]["schema"]


@pytest.mark.timeout(600)
async def test_every_field_of_every_document(site: Site) -> None:
    served = site.contract.document
    found = list(documents(served))
    assert {path for _, path, _ in found} >= {"/api/v2/tasks", "/api/v2/jobs"}
    task = ended(site)
    wrong: list[str] = []
    roots = frozenset(schema["$ref"].rpartition("/")[2] for _, _, schema in found)
    for method, path, schema in found:
        walk = Walk(served, roots)
        address = site.url(path.format(task_id=task.id, job_id=JOB, preset=KEY, name=KEY, user=KEY))
        count = 0
        for fault in walk.faults(schema):
            count += 1
            body = json.dumps(document_with(walk, schema, fault)).encode()
            async with site.http.request(
                method, address, data=io.BytesIO(body), headers=JSON
            ) as response:
                answer = await response.json(content_type=None)
                told = why_not(fault, response.status, response.content_type, answer, len(body))
            if told:
                wrong.append(f"{path} {pointer_of(fault.at)}: {fault.kind}: {told}")
        wrong += [f"{path} {each}" for each in walk.undescribed]
        assert count, path
    assert not wrong, "\n".join(wrong)


def why_not(fault: Fault, status: int, kind: str, answer: Json, size: int) -> str | None:
    """What is missing in an answer; None if nothing is."""
    if status == 413:
        [bound] = re.findall(r"[0-9]+", answer["detail"])
        return None if answer["code"] == "too_large" and size > int(bound) else str(answer)
    if status == 200 and "items" in answer:  # a batch says of each what is wrong with it
        problem = answer["items"][0]["problem"] or {"status": 201}
        status, kind = problem["status"], "application/problem+json"
        errors = problem.get("errors") or []
        answer = {"errors": [{**e, "pointer": "/tasks/0" + e["pointer"]} for e in errors]}
    if not 400 <= status < 500 or kind != "application/problem+json":
        return f"answered with {status}"
    pointer = pointer_of(fault.at)
    issues = [each for each in answer.get("errors") or [] if each["pointer"] == pointer]
    if not issues:
        return f"no error of this pointer in {answer}"
    if any("xpected `" in each.get("detail", "") for each in issues):
        return f"the decoder's own words in {issues}"
    for issue in issues:
        limit = fault.limit in (None, ...) or issue.get("limit") == fault.limit
        given = fault.given is ... or issue.get("given") == fault.given
        if issue["code"] in fault.code.split("|") and limit and given:
            return None
    return f"{fault.code}, limit {fault.limit}, given {fault.given!r} are not told in {issues}"


def test_a_field_without_bounds_is_found() -> None:
    schema = {"type": "object", "properties": {"new": {"type": "integer"}}}
    walk = Walk({"components": {"schemas": {}}})
    faults = {(fault.kind, pointer_of(fault.at)) for fault in walk.faults(schema)}
    assert ("another type", "/new") in faults
    assert walk.undescribed == ["/new: from where to where?"]


@pytest.mark.parametrize(
    "issue",
    [
        {"pointer": "/other", "code": "above_maximum", "limit": 5, "given": 6},
        {"pointer": "/a", "code": "above_maximum", "limit": None, "given": 6},
        {"pointer": "/a", "code": "above_maximum", "limit": 5, "given": None},
        {"pointer": "/a", "code": "wrong_type", "limit": 5, "given": 6},
    ],
)
def test_an_answer_that_leaves_something_out_is_found(issue: Json) -> None:
    fault = Fault("beyond", ("a",), 6, "above_maximum", limit=5, given=6)
    right = {"pointer": "/a", "code": "above_maximum", "limit": 5, "given": 6}
    kind = "application/problem+json"
    assert why_not(fault, 422, kind, {"errors": [right]}, 10) is None
    assert why_not(fault, 422, kind, {"errors": [issue]}, 10)
    assert why_not(fault, 500, kind, {"errors": [right]}, 10)
