"""What is said of a large file while it is on its way."""

from __future__ import annotations

import pytest

from khala.client import CaseOf, NewTask, Source, StageOf
from roles.client.moving import Moving

MIB = 1024 * 1024


def test_what_takes_a_moment_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = Moving("sent")
    for at in (0, 4 * MIB, 8 * MIB):
        told(at, 8 * MIB)
    assert capsys.readouterr().err == ""


def test_what_takes_longer_is_told_once_a_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("roles.client.moving.time.monotonic", lambda: now)
    told = Moving("sent")
    for at in range(0, 11 * MIB, MIB):
        told(at, 10 * MIB)
        now += 0.4
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "khala: 3.0 MiB of 10.0 MiB sent (30 %)",
        "khala: 6.0 MiB of 10.0 MiB sent (60 %)",
        "khala: 9.0 MiB of 10.0 MiB sent (90 %)",
    ]


def test_contents_that_were_sent_ahead_are_named() -> None:
    large = [bytes([n]) * 10 for n in range(5)]
    task = NewTask(
        execute=StageOf("true"),
        sources=(Source("a", large[0]), Source("b", b"small")),
        data=(Source("c", large[1]),),
        stdin=large[2],
        cases=(CaseOf(stdin=large[3], expected=large[4]),),
        expected=b"expected",
    )
    assert [*task.contents] == [large[0], b"small", large[1], large[2], b"expected", *large[3:]]
    document = task.document({each: f"sha256:{n}" for n, each in enumerate(large)})
    assert document["sources"] == [
        {"path": "a", "blob": "sha256:0"},
        {"path": "b", "text": "small"},
    ]
    assert document["data"][0]["blob"] == "sha256:1"
    assert document["stdin"] == {"blob": "sha256:2"}
    [case] = document["cases"]
    assert case["stdin"] == {"blob": "sha256:3"}
    assert case["expect"] == {"stdout": {"blob": "sha256:4"}}
