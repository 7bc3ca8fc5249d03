"""The reference tables of docs/configuration.md, out of the tables that decide.

`khala.pex config --reference` prints them, for whoever has the file but not the documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from khala.config import kv2
from khala.config.load import limits_of
from khala.config.setting import ALL, Setting
from khala.config.table import BY_KEY, SECTIONS
from khala.config.values import show


def render() -> str:
    """Markdown: a table for each section of settings, and one for the flags of KV2."""
    parts = [f"## {title}\n\n{_settings(section)}\n" for title, section in SECTIONS.items()]
    rows = "".join(_kv2_rows())
    return "".join(parts) + f"## KV2\n\n| KV2's flag | roles | now |\n|---|---|---|\n{rows}"


def _settings(section: Iterable[Setting]) -> str:
    rows = ["| flag | variable | key in a file | value | default | what it is | roles |\n"]
    rows.append("|---|---|---|---|---|---|---|\n")
    for each in section:
        value = ", ".join(f"`{choice}`" for choice in each.choices) or each.kind.value
        default = each.default_text or show(each.kind, each.default)
        rows.append(
            _row(
                f"`{each.flag}`",
                f"`{each.env}`",
                f"`{each.key}`",
                f"{value} {limits_of(each)}".strip(),
                default or "none",
                each.help,
                _roles(each.roles),
            )
        )
    return "".join(rows)


def _kv2_rows() -> Iterator[str]:
    for each in kv2.FLAGS:
        if each in kv2.CLUSTER:
            now = each.why
        elif each.key is not None:
            now = f"`{BY_KEY[each.key].flag}`"
        else:
            now = f"nothing: {each.why}"
        yield _row(f"`{each.flag}`", _roles(each.roles), now)


def _row(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |\n"


def _roles(roles: tuple[str, ...]) -> str:
    return "all" if roles == ALL else ", ".join(roles)
