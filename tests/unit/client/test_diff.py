"""`diff` numbers its lines as the texts have them, of which it has a part."""

from __future__ import annotations

from roles.client.verdicts import unified


def test_lines_count_from_the_beginning_of_the_texts() -> None:
    lines = unified("a\nb\n", "a\nc\n", " of case 3", skipped=99)
    assert lines[:3] == ["--- expected of case 3", "+++ stdout of case 3", "@@ -100,2 +100,2 @@"]
    assert lines[3:] == [" a", "-b", "+c"]


def test_a_line_that_looks_like_a_head_is_a_line() -> None:
    assert unified("@@ -1 +1 @@\n", "@@ -2 +2 @@\n", "", skipped=9)[2:] == [
        "@@ -10 +10 @@",
        "-@@ -1 +1 @@",
        "+@@ -2 +2 @@",
    ]


def test_equal_texts_have_none() -> None:
    assert unified("a\n", "a\n", "") == []
