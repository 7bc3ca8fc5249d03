"""A task document that names a preset, made whole before anything reads it.

A preset is the beginning of a document, and the document is a merge patch on it (RFC 7396): what
the document says wins, field by field, `null` takes away, and lists are replaced. So everything
behind this knows nothing of presets, and what a task was asked to do stands in the task: whoever
changes a preset changes no task that exists. A document without a preset costs a search for one
word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from khala.model.errors import NotFound, Rejected
from khala.model.ids import check_name
from khala.net.client import JudicatorClient
from khala.protocol.presets import Preset, PresetList
from khala.protocol.v2 import IssueCode
from roles.gateway.bodies import LARGE_BYTES, off_loop
from roles.gateway.issues import Issues, step

Json: TypeAlias = dict[str, Any]

FIELD = "preset"
#: The second one: a letter of the word may be written as an escape.
_WORDS = (b"preset", b"\\u")
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Presets(Struct, frozen=True, kw_only=True):
    """Looks them up."""

    client: JudicatorClient

    async def apply(self, body: bytes) -> bytes:
        """The same document, or documents, without presets. Raise `Invalid` for those that do not
        exist; what is wrong with the rest is told by whoever reads it."""
        if not any(word in body for word in _WORDS):
            return body
        large = len(body) > LARGE_BYTES
        whole = await off_loop(large, _read, body)
        asking = list(_asking(whole))
        if not asking:
            return body
        known = await self._find({task[FIELD] for _, task in asking})
        issues = Issues()
        for pointer, task in asking:
            if task[FIELD] not in known:
                detail = "there is no such preset; GET /api/v2/presets shows them"
                at = pointer + step(FIELD)
                issues.add(at, IssueCode.INVALID_VALUE, detail, given=task[FIELD])
        issues.raise_if_any()
        return await off_loop(large, _merged_all, whole, asking, known)

    async def _find(self, names: set[str]) -> dict[str, Json]:
        """What the presets of these names say."""
        if len(names) > 1:
            listed = await load_presets(self.client)
            found = [each for each in listed if each.name in names]
        else:
            found = [each for name in names if (each := await _find_one(self.client, name))]
        return {each.name: msgspec.json.decode(each.task) for each in found}


async def _find_one(client: JudicatorClient, name: str) -> Preset | None:
    try:
        return await client.ask("GET", f"/rpc/v1/presets/{check_name(name)}", None, Preset)
    except (NotFound, Rejected):
        return None


async def load_presets(client: JudicatorClient) -> list[Preset]:
    return (await client.ask("GET", "/rpc/v1/presets", None, PresetList)).presets


def merged(base: object, patch: object) -> object:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    whole = dict(base) if isinstance(base, dict) else {}
    for name, value in patch.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = merged(whole.get(name), value)
    return whole


def _read(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except _BROKEN:
        return None


def _asking(whole: object) -> Iterator[tuple[str, Json]]:
    """Every task that names a preset, with its pointer: the document itself, or those of a job or
    a batch."""
    if not isinstance(whole, dict):
        return
    places: list[tuple[str, object]] = [("", whole), ("/task", whole.get("task"))]
    listed = whole.get("tasks")
    if isinstance(listed, list):
        places += [(f"/tasks{step(index)}", task) for index, task in enumerate(listed)]
    for pointer, task in places:
        if isinstance(task, dict) and isinstance(task.get(FIELD), str):
            yield pointer, task


def _merged_all(
    whole: object, asking: Sequence[tuple[str, Json]], known: Mapping[str, Json]
) -> bytes:
    for _, task in asking:
        base = known[task.pop(FIELD)]
        made = merged(base, dict(task))
        task.clear()
        task.update(made if isinstance(made, dict) else {})
    return msgspec.json.encode(whole)
