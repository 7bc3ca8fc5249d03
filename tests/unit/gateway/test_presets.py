"""Documents that begin with a preset: what becomes of them before they are read, and what a preset
may say."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.model.errors import NotFound
from khala.model.limits import PRESET_BYTES
from khala.protocol.presets import Preset, PresetList
from roles.gateway.issues import Invalid
from roles.gateway.presets import Presets, merged
from roles.gateway.v2_presets import PresetRoutes, PresetSpec
from tests.unit.gateway.documents import CONFIG, SMALLEST
from tests.unit.gateway.double import START

CPP: dict[str, Any] = {
    "stages": {
        "compile": {"command": "make"},
        "execute": {"command": "./main", "limits": {"wall_s": 1, "pids": 4}},
    },
    "env": {"MODE": "fast"},
    "image": "gcc-13",
}
KNOWN = {"cpp": CPP, "echo": SMALLEST}


class Client:
    """The judicators' answers about presets, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def ask(self, method: str, path: str, body: object, kind: type) -> object:
        assert (method, body) == ("GET", None)
        self.asked.append(path)
        known = [
            Preset(name=name, task=msgspec.json.encode(task), updated_at=START)
            for name, task in KNOWN.items()
        ]
        if kind is PresetList:
            return PresetList(presets=known)
        found = [each for each in known if path == f"/rpc/v1/presets/{each.name}"]
        if not found:
            raise NotFound("there is none")
        return found[0]


async def applied(document: object, client: Client | None = None) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    presets = Presets(client=client or Client())  # type: ignore[arg-type]
    return json.loads(await presets.apply(body))


async def test_what_the_document_says_wins_field_by_field() -> None:
    document = {
        "preset": "cpp",
        "stages": {"compile": None, "execute": {"limits": {"wall_s": 9}}},
        "env": {"LEVEL": "2"},
        "stdin": {"text": "1"},
    }
    assert await applied(document) == {
        "stages": {"execute": {"command": "./main", "limits": {"wall_s": 9, "pids": 4}}},
        "env": {"MODE": "fast", "LEVEL": "2"},
        "image": "gcc-13",
        "stdin": {"text": "1"},
    }


async def test_tasks_of_jobs_and_batches_begin_with_presets_too() -> None:
    client = Client()
    document = {"task": {"preset": "echo"}, "tasks": [{"preset": "cpp"}, SMALLEST], "array": "0-1"}
    assert await applied(document, client) == {
        "task": SMALLEST,
        "tasks": [CPP, SMALLEST],
        "array": "0-1",
    }
    assert client.asked == ["/rpc/v1/presets"]


async def test_a_document_without_a_preset_asks_nobody_and_stays_as_it_is() -> None:
    client = Client()
    documents: list[object] = [SMALLEST, {"name": "preset"}, {"labels": {"preset": "x"}}, []]
    for document in (*documents, {"preset": 7}):
        assert await applied(document, client) == document
    for body in (b"no preset", b'{"preset": "cpp"', b"[" * 100_000 + b"preset"):
        assert await Presets(client=client).apply(body) == body  # type: ignore[arg-type]
    assert client.asked == []


async def test_the_word_may_be_written_in_escapes() -> None:
    assert await applied(b'{"pr\\u0065set": "echo"}') == SMALLEST


@pytest.mark.parametrize("name", ["nobody's", "", "../tasks", "x" * 64, "other"])
async def test_a_preset_that_does_not_exist_is_told_where_it_is_named(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        await applied({"tasks": [SMALLEST, {"preset": name}]})
    [issue] = refused.value.issues
    assert (issue.pointer, issue.given) == ("/tasks/1/preset", name)
    assert "GET /api/v2/presets" in issue.detail


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@given(_JSON, _JSON)
def test_a_merge_is_what_the_rfc_says(base: object, patch: object) -> None:
    whole = merged(base, patch)
    if not isinstance(patch, dict):
        assert whole == patch
        return
    before = base if isinstance(base, dict) else {}
    assert isinstance(whole, dict)
    for name in {*before, *patch}:
        if name not in patch:
            assert whole[name] == before[name]
        elif patch[name] is None:
            assert name not in whole
        else:
            assert whole[name] == merged(before.get(name), patch[name])
    assert merged(whole, patch) == whole


def checked(task: dict[str, Any]) -> bytes:
    return PresetRoutes(client=Client(), config=CONFIG)._checked(PresetSpec(task=task))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "task",
    [
        {},
        CPP,
        {"stages": {"execute": {"limits": {"memory": "64MiB"}}}},
        {"stages": {"compile": {"command": "make"}}},
        {"sources": [{"path": "lib.h", "text": "//"}], "env": {"A": "b"}},
    ],
)
def test_a_preset_is_kept_as_it_was_given(task: dict[str, Any]) -> None:
    assert json.loads(checked(task)) == task


@pytest.mark.parametrize(
    ("task", "pointer"),
    [
        ({"preset": "cpp"}, "/task/preset"),
        ({"stages": {"execute": {"limits": {"wall_s": -1}}}}, "/task/stages/execute/limits/wall_s"),
        ({"stages": {"judge": {}}}, "/task/stages/judge"),
        ({"stages": 7}, "/task/stages"),
        ({"colour": "red"}, "/task/colour"),
        ({"sources": [{"path": "a", "part": "a"}]}, "/task/sources/0/part"),
        ({"sources": [{"path": "a", "blob": "0" * 64}]}, "/task/sources/0/blob"),
        ({"name": "x", "env": {"A": "x" * PRESET_BYTES}}, "/task"),
    ],
)
def test_what_no_task_could_begin_with_is_refused(task: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked(task)
    assert refused.value.issues[0].pointer == pointer
