"""The documents' examples, as somebody meets them who pastes them into a shell.

A command is run as it is printed; only the address, the id and the token are replaced. The comment
below it says what it answers, with `...` for what is left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import ROOT, Khala, running

ID = "6b04d4787d852fb9eb7f7a4e"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+")
#: As `re.escape` writes it.
ESCAPED_TIME = re.compile(r"\d{4}\\-\d\d\\-\d\dT[\d:]+\\\.\d+")
TOKEN = "correct-horse-battery-staple"


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    command: str
    #: Printed below the command; empty where the document shows no answer.
    answer: str

    def pattern(self) -> re.Pattern[str]:
        """The answer, with room for what no document can know."""
        pattern = re.escape(self.answer.replace(f"{ID[:4]}...", ID))
        pattern = re.sub(r"(?:\\ )*\\\.\\\.\\\.(?:\\ )*", ".*", pattern)
        pattern = pattern.replace(ID, "[0-9a-f]{24}")
        return re.compile(ESCAPED_TIME.sub(lambda _: TIME.pattern, pattern) + r"\n?", re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def is_complete(command: str) -> bool:
    """Bash would run it: no open quote, here-document or continued line."""
    if command.endswith("\\\n"):
        return False
    checked = subprocess.run(
        ["bash", "-n"], input=command, capture_output=True, text=True, check=False
    )
    return checked.returncode == 0 and not checked.stderr


def examples(block: str) -> Iterator[Example]:
    command = answer = ""
    for line in block.splitlines(keepends=True):
        complete = is_complete(command)
        if complete and line.startswith("# "):
            answer += line.removeprefix("# ")
            continue
        if complete and command.strip():
            yield Example(command, answer.rstrip("\n"))
            command = answer = ""
        command += line
    assert is_complete(command), command
    yield Example(command, answer.rstrip("\n"))


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euc", command], cwd=folder, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout.decode()


def follow(khala: Khala, block: str, folder: Path) -> int:
    """Run a block's examples in order and compare; how many answers were compared."""
    compared = 0
    task = ID
    for example in examples(block):
        command = example.command.replace("http://127.0.0.1:7000", khala.url).replace(ID, task)
        printed = run(command, folder)
        if example.answer:
            assert example.pattern().fullmatch(printed), (example, printed)
            compared += 1
        if submitted := re.match(r'\{"id":"([0-9a-f]{24})",("result":0)?', printed):
            task = submitted[1]
            if submitted[2]:
                khala.wait_done(task)  # as long as a person takes to copy the id
    return compared


def the_block(document: str, word: str) -> str:
    [found] = [block for block in blocks(document, "sh") if word in block]
    return found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Khala]:
    with running(tmp_path_factory.mktemp("examples") / "data") as khala:
        yield khala


def test_readme_session(fresh: Khala, tmp_path: Path) -> None:
    block = the_block("README.md", "main.cpp")
    assert follow(fresh, block, tmp_path) == 2
    assert "wait=30s" in block


def test_api_quick_start(fresh: Khala, tmp_path: Path) -> None:
    assert follow(fresh, the_block("docs/api.md", "--form-string"), tmp_path) == 2


def test_api_create(fresh: Khala, tmp_path: Path) -> None:
    assert follow(fresh, the_block("docs/api.md", "py_compile"), tmp_path) == 1
    assert follow(fresh, the_block("docs/api.md", "notes=@notes.txt"), tmp_path) == 1


def test_api_logs(fresh: Khala, tmp_path: Path) -> None:
    assert follow(fresh, the_block("docs/api.md", "logs?follow=true"), tmp_path) == 4


@pytest.mark.parametrize("path", ["queue?limit=2", "stats?step=1d", "autoscale?within_s=300", "gc"])
def test_api_of_the_whole(fresh: Khala, tmp_path: Path, path: str) -> None:
    assert follow(fresh, the_block("docs/api.md", f"/api/v2/{path}"), tmp_path) == 1


@pytest.mark.parametrize(
    "word", ['"retention":{"age_s"', '"4711":{"running":4', '"keeping":{"retention":{"count"']
)
def test_api_of_settings(fresh: Khala, tmp_path: Path, word: str) -> None:
    assert follow(fresh, the_block("docs/api.md", word), tmp_path) == 1


def test_api_refusal(fresh: Khala) -> None:
    [example] = shown('"above_maximum"')
    body = {"stages": {"execute": {"command": "x", "limits": {"memory": "8GiB"}}}}
    request = urllib.request.Request(
        f"{fresh.url}/api/v2/tasks",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert (answer.code, without_id(json.load(answer))) == (422, without_id(example))


def without_id(problem: dict[str, Any]) -> dict[str, Any]:
    """Every request has another one."""
    assert problem["request_id"]
    return {name: value for name, value in problem.items() if name != "request_id"}


def test_api_list(fresh: Khala, tmp_path: Path) -> None:
    _, found = fresh.call("GET", "/api/task/list?user=0")
    for _ in range(7 - len(found["tasks"])):  # which makes the four pages of the example
        fresh.wait_done(fresh.submit(user="0"))
    assert follow(fresh, the_block("docs/api.md", "/api/task/list?user=0"), tmp_path) == 1


def test_api_presets(fresh: Khala, tmp_path: Path) -> None:
    assert follow(fresh, the_block("docs/api.md", "presets/shout"), tmp_path) == 3


def test_api_patch(fresh: Khala, tmp_path: Path) -> None:
    assert follow(fresh, the_block("docs/api.md", "hw 3, again"), tmp_path) == 3


def test_api_uploads(fresh: Khala, tmp_path: Path) -> None:
    assert follow(fresh, the_block("docs/api.md", "letters.txt"), tmp_path) == 4


def test_api_token(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    commands = [each.command for each in examples(the_block("docs/api.md", "Bearer TOKEN"))]
    with running(tmp_path / "data", options=("--token-file", str(token_file))) as khala:
        assert khala.call("GET", "/api/task/list")[0] == 401
        header, query, session = (
            command.replace("http://HOST:7000", khala.url).replace("TOKEN", TOKEN)
            for command in commands
        )
        nothing = '{"pages":0,"result":0,"tasks":[]}\n'
        assert run(header, tmp_path) == nothing
        assert run(query, tmp_path) == nothing
        assert run(session, tmp_path) == ""
        assert run(f"curl -b jar {khala.url}/api/task/list", tmp_path) == nothing
        # Whoever has that session makes users.
        assert follow(khala, the_block("docs/api.md", "/api/v2/users"), tmp_path) == 5
        assert follow(khala, the_block("docs/api.md", "/api/v2/tickets"), tmp_path) == 1


# ---- answers shown as JSON -------------------------------------------------------------------


def shown(word: str) -> list[Any]:
    """The JSON documents of the block with `word`; what they leave out is an empty object."""
    [block] = [block for block in blocks("docs/api.md", "json") if word in block]
    text = block.replace("{...}", "{}").strip()
    found = []
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def without_fractions(value: Any) -> Any:
    """Measured times differ in what follows the point."""
    return re.sub(r"\.\d+", "", value) if isinstance(value, str) else value


def assert_same_shape(real: Any, example: Any, where: str = "answer") -> None:
    """The same keys everywhere, and values of the same types; null stands for any."""
    if example is None or real is None or example == {}:
        return
    assert type(real) is type(example), (where, real, example)
    if isinstance(example, dict):
        assert real.keys() == example.keys(), where
        for key, value in example.items():
            assert_same_shape(real[key], value, f"{where}.{key}")
    elif isinstance(example, list):
        for each in real:
            assert_same_shape(each, example[0], f"{where}[]")
    elif isinstance(example, str):
        assert bool(re.match(TIME, real)) == bool(re.match(TIME, example)), (where, real)


def test_api_task_documents(fresh: Khala) -> None:
    task = fresh.submit(
        compile_source_name="main.sh",
        compile_source_str="echo so; sleep 9",
        compile_command="true",
        execute_command="bash main.sh",
        execute_input="1 2",
        execute_timeout="1",
    )
    fresh.wait_done(task)
    [example] = shown('"observed"')
    real = fresh.explain(task)
    assert_same_shape(real, example)
    for key in ("state", "reason", "message", "attempt", "crashes"):
        assert without_fractions(real[key]) == without_fractions(example[key]), key
    stage, as_shown = (each["stages"]["execute"]["result"] for each in (real, example))
    for key in ("reason", "exit_code", "signal", "limit", "stdout"):
        assert stage[key] == as_shown[key], key
    [kv2] = shown('"report_time"')
    assert_same_shape(fresh.call("GET", f"/api/task?id={task}")[1], kv2)


def test_api_cluster_documents(fresh: Khala) -> None:
    nodes, status = shown('"judicators"')
    assert_same_shape(fresh.call("GET", "/api/v2/nodes")[1], nodes)
    answer = fresh.call("GET", "/api/v2/status")[1]
    assert_same_shape(answer, status)
    assert answer["notes"] == status["notes"]


def test_api_problem_document(fresh: Khala) -> None:
    [example] = shown('"not_found"')
    missing = "0" * 24
    status, answer = fresh.call("GET", f"/api/v2/tasks/{missing}")
    assert (status, without_id(answer)) == (404, without_id(example))
