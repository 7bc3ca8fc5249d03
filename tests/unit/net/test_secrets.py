"""Secret files: made once, readable by their owner alone, followed when they change."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from khala.model.errors import Rejected, Unavailable
from khala.net.secrets import SecretFile, create_secret, same


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    create_secret(path)
    secret = path.read_text()
    create_secret(path)
    assert path.read_text() == secret
    assert re.fullmatch(r"[0-9a-f]{64}\n", secret)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["secret"]


def test_a_missing_secret_may_still_come(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    file = SecretFile(path, flag="--secret-file")
    with pytest.raises(Unavailable, match="--secret-file"):
        file.read()
    create_secret(path)
    assert file.read() == path.read_text().strip()


def test_a_changed_secret_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text("a" * 20)
    file = SecretFile(path, flag="--secret-file")
    assert file.read() == "a" * 20
    path.write_text("b" * 21)
    assert file.read() == "b" * 21


@pytest.mark.parametrize(
    ("text", "mode", "complaint"),
    [
        ("short", 0o600, "16 to 1024"),
        ("a" * 20, 0o640, "0640"),
        ("ä" * 20, 0o600, "cannot be read"),
    ],
)
def test_an_unfit_secret_is_refused(tmp_path: Path, text: str, mode: int, complaint: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(Rejected, match=complaint) as raised:
        SecretFile(path, flag="--token-file").read()
    assert raised.value.field == "--token-file"
    assert text not in raised.value.message


def test_comparison() -> None:
    assert same("abc", "abc")
    assert not same("abd", "abc")
    assert not same(None, "abc")
    assert not same("\udcff", "abc")
