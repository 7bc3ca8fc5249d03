"""What the documents link to is there: pages, headings, files, and each test that shows a promise.

A renamed heading or test breaks its links without anything else noticing it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("*.md")])
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?P<text>[^\]\n]*)\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    words = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(_prose(page)))
    return {title.replace(" ", "-") for title in words}


def _is_there(page: Path, text: str, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return False
    if anchor and file.suffix == ".md":
        return anchor in _anchors(file)
    _, is_test, name = text.partition("::")
    return not is_test or re.search(rf"^(async )?def {name}\(", file.read_text(), re.M) is not None


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = _LINK.findall(_prose(page))
    inner = [link for link in links if not re.match(r"[a-z]+:", link[1])]
    assert [link for link in inner if not _is_there(page, *link)] == []


def test_every_feature_has_a_page_and_a_test() -> None:
    lines = (_ROOT / "docs" / "features.md").read_text().splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| ")]
    rows = [row for row in rows if row[1].strip() != "read"]
    assert rows
    for what, read, shown in rows:
        assert ".md" in read, what
        assert "](../tests/" in shown, what
