"""The size limits of the house style, which no linter states: what outgrows them is two things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("khala", "roles", "sandbox", "build", "tests")
MODULE_LINES_MAX = 400
CLASS_LINES_MAX = 200
FUNCTION_LINES_MAX = 60


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def too_long(source: str) -> Iterator[str]:
    """Name what is longer than its limit in the module `source`."""
    lines = len(source.splitlines())
    if lines > MODULE_LINES_MAX:
        yield f"the module has {lines} lines, limit {MODULE_LINES_MAX}"
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef():
                limit = CLASS_LINES_MAX
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                limit = FUNCTION_LINES_MAX
            case _:
                continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > limit:
            yield f"line {node.lineno}: {node.name} has {lines} lines, limit {limit}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_keeps_the_size_limits(path: Path) -> None:
    assert list(too_long(path.read_text())) == []


def test_what_is_too_long_is_named() -> None:
    body = "    x = 1\n" * FUNCTION_LINES_MAX
    assert list(too_long(f"def short():\n{body[:-10]}")) == []
    assert list(too_long(f"async def long():\n{body}")) == ["line 1: long has 61 lines, limit 60"]
    assert list(too_long("\n" * 401)) == ["the module has 401 lines, limit 400"]
    assert list(too_long("class Big:\n" + "    x = 1\n" * 200)) == [
        "line 1: Big has 201 lines, limit 200"
    ]
