"""Presets by HTTP: named beginnings of task documents, which whoever may submit may change."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.ids import check_name
from khala.model.limits import PRESET_BYTES, PRESET_TEXT_CHARS
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.presets import Preset, PutPreset
from khala.protocol.v2 import IssueCode, ProblemCode
from roles.gateway.bounds import chars, told
from roles.gateway.config import GatewayConfig
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid, Issues
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.presets import FIELD, load_presets, merged
from roles.gateway.spec import TaskSpecV2, parse_spec
from roles.gateway.spec_blobs import NO_BLOBS
from roles.gateway.spec_task import TaskDocument, task_of_spec

_ONE = "/api/v2/presets/<preset:str>"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
#: What a document with the preset has to say at least, if the preset does not.
_REST: dict[str, Any] = {"command": "true"}


class PresetSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tasks may begin with."""

    #: For people.
    description: Annotated[str, chars(PRESET_TEXT_CHARS)] = ""
    #: A part of a task document; stages may lack their command.
    task: Annotated[dict[str, Any], told(**{"x-part-of": TaskSpecV2.__name__})]


_decoder = msgspec.json.Decoder(PresetSpec)


class PresetRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and what they need."""

    client: JudicatorClient
    config: GatewayConfig

    @declare(
        Operation(
            method="GET",
            path="/api/v2/presets",
            tag="Presets",
            answers={200: Answer(v2.Presets)},
        )
    )
    async def list_presets(self, _: Request) -> HTTPResponse:
        """All presets, by name."""
        presets = await load_presets(self.client)
        return _json(v2.Presets(presets=[_view(each) for each in presets]))

    @declare(
        Operation(
            method="GET",
            path=_ONE,
            tag="Presets",
            answers={200: Answer(v2.Preset)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_preset(self, _: Request, preset: str) -> HTTPResponse:
        """What tasks with this preset begin with."""
        path = f"/rpc/v1/presets/{check_name(preset, field=FIELD)}"
        return _json(_view(await self.client.ask("GET", path, None, Preset)))

    @declare(
        Operation(
            method="PUT",
            path=_ONE,
            role=Role.OPERATOR,
            act="preset.put",
            noted=("description",),
            tag="Presets",
            request={JSON: PresetSpec},
            answers={200: Answer(v2.Preset)},
            problems=(ProblemCode.VALIDATION_FAILED,),
        )
    )
    async def put_preset(self, request: Request, preset: str) -> HTTPResponse:
        """Make a preset, or replace what it says. Tasks that exist stay as they are."""
        name = check_name(preset, field=FIELD)
        try:
            given = parse_document(_decoder, request.body)
            task = self._checked(given)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        put = PutPreset(description=given.description, task=task)
        return _json(_view(await self.client.ask("PUT", f"/rpc/v1/presets/{name}", put, Preset)))

    @declare(
        Operation(
            method="DELETE",
            path=_ONE,
            role=Role.OPERATOR,
            act="preset.delete",
            tag="Presets",
            answers={200: Answer(v2.Preset)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def delete_preset(self, _: Request, preset: str) -> HTTPResponse:
        """Remove a preset, and show what it said. Tasks that began with it stay as they are."""
        path = f"/rpc/v1/presets/{check_name(preset, field=FIELD)}"
        return _json(_view(await self.client.ask("DELETE", path, None, Preset)))

    def _checked(self, given: PresetSpec) -> bytes:
        """As it is stored. Raise `Invalid` for what no task could begin with."""
        issues = Issues()
        if (count := len(given.description)) > PRESET_TEXT_CHARS:
            detail = f"{count} characters are more than the {PRESET_TEXT_CHARS} of a description"
            issues.add(
                "/description", IssueCode.TOO_LONG, detail, limit=PRESET_TEXT_CHARS, given=count
            )
        if FIELD in given.task:
            detail = "a preset does not begin with another one"
            issues.add(f"/task/{FIELD}", IssueCode.UNKNOWN_FIELD, detail, given=given.task[FIELD])
        stored = msgspec.json.encode(given.task)
        if len(stored) > PRESET_BYTES:
            detail = f"{len(stored)} bytes are more than the {PRESET_BYTES} of a preset"
            issues.add("/task", IssueCode.TOO_LONG, detail, limit=PRESET_BYTES, given=len(stored))
        issues.raise_if_any()
        try:
            spec = parse_spec(msgspec.json.encode(_completed(given.task)))
            task_of_spec(TaskDocument(spec=spec), NO_BLOBS, self.config, "")
        except Invalid as error:
            found = [msgspec.structs.replace(e, pointer=f"/task{e.pointer}") for e in error.issues]
            raise Invalid(found) from None
        return stored


def _completed(task: dict[str, Any]) -> object:
    """The smallest document that begins with it."""
    stages = task.get("stages") if isinstance(task.get("stages"), dict) else {}
    least = dict.fromkeys(stages or {"execute": {}}, _REST)
    return merged({"stages": least}, task)


def _view(preset: Preset) -> v2.Preset:
    return v2.Preset(
        name=preset.name,
        description=preset.description,
        task=msgspec.json.decode(preset.task),
        updated_at=preset.updated_at,
    )


def _json(body: Struct) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), headers=_HEADERS, content_type=JSON)
