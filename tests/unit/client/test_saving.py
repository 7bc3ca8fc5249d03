"""What a task left is a stranger's: it is saved whole, in its place, and never obeyed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from khala.client import Artifact, AsyncKhala
from khala.model.errors import Rejected, Unavailable
from roles.client import acts
from roles.client.connection import Connection

TASK = "a" * 24


class Left:
    """A client of a task that left these files; None breaks off."""

    def __init__(self, files: dict[str, bytes | None]) -> None:
        self._files = files

    async def list_artifacts(self, task: str) -> list[Artifact]:
        return [
            Artifact(
                name=name,
                href="",
                size=len(data or b""),
                sha256="",
                executable=False,
                modified_at=datetime(2026, 11, 24, tzinfo=UTC),
            )
            for name, data in self._items
        ]

    @property
    def _items(self) -> list[tuple[str, bytes | None]]:
        return list(self._files.items())

    @asynccontextmanager
    async def open_artifact(self, artifact: Artifact) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._pieces(self._files[artifact.name])

    async def _pieces(self, data: bytes | None) -> AsyncIterator[bytes]:
        if data is None:
            yield b"half"
            raise Unavailable("the gateway is gone")
        yield data


async def fetch(files: dict[str, bytes | None], into: Path) -> int:
    connection = Connection(url="", token=None, history_path=into / "history")
    return await acts.fetch(cast(AsyncKhala, Left(files)), connection, TASK, into)


async def test_half_a_file_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await fetch({"out/a": b"whole", "out/b": None}, tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["../out", "link/file", "/etc/khala-test", "taken", "taken/below"])
async def test_a_place_that_is_not_its_own_is_refused(tmp_path: Path, name: str) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (into / "link").symlink_to(tmp_path / "elsewhere")
    (into / "taken").write_text("mine")
    with pytest.raises(Rejected):
        await fetch({name: b"theirs"}, into)
    assert (into / "taken").read_text() == "mine"
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_name_says_nothing_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await fetch({"\x1b]0;owned\x07\u202e": b"x"}, tmp_path) == 0
    shown = capsys.readouterr().out
    assert shown.rstrip("\n").isprintable()
    assert "owned" in shown
