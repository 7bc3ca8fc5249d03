"""docs/configuration.md says what the tables of the program say."""

from __future__ import annotations

from pathlib import Path

from khala.config import document, kv2
from khala.config.table import SETTINGS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_the_page_ends_with_the_reference() -> None:
    _, marker, tables = PAGE.read_text().partition("; a test compares. -->\n")
    assert marker
    assert tables == document.render(), (
        "write the output of `python -m khala config --reference` below the marker of"
        " docs/configuration.md"
    )


def test_the_reference_has_every_setting_and_every_flag_of_kv2() -> None:
    text = document.render()
    for setting in SETTINGS:
        assert f"| `{setting.flag}` | `{setting.env}` | `{setting.key}` |" in text
    for flag in kv2.FLAGS:
        assert f"| `{flag.flag}` |" in text
