"""The comment `#: ...` above a field of a Struct is its description, for readers of the source and
of the OpenAPI document alike. Python does not keep comments, so they are read from the source; a
program without its sources serves a document without descriptions.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache

_MARK = "#:"


@cache
def texts_of(kind: type) -> dict[str, str]:
    """Descriptions by field (or member, of an enumeration), those of base classes included."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith(("khala.", "roles.")):
            texts |= _own_texts(base)
    return texts


def _own_texts(kind: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return {}
    lines = source.splitlines()
    [definition] = ast.parse(source).body
    texts = {}
    for node in definition.body if isinstance(definition, ast.ClassDef) else []:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0] if isinstance(node.targets[0], ast.Name) else None
        text = _above(lines, node.lineno - 1)
        if isinstance(target, ast.Name) and text:
            texts[target.id] = text
    return texts


def _above(lines: list[str], at: int) -> str:
    found: list[str] = []
    while at > 0 and lines[at - 1].lstrip().startswith(_MARK):
        at -= 1
        found.insert(0, lines[at].lstrip().removeprefix(_MARK).strip())
    return " ".join(found)
