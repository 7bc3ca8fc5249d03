"""What a killed backup has left goes with the next one; what is being made stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from khala.supervise.leftovers import DRAFT, SCRATCH, hold, remove_leftovers
from roles.backup.archive import Writer

_KILLED = """
import os, signal, sys
from pathlib import Path
from roles.backup.archive import Writer
writer = Writer(Path(sys.argv[1]))
writer.__enter__().add("tasks", 1, b"x" * 100_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_draft_of_a_killed_backup_is_removed(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "saved.tar")], check=False, timeout=60
    )
    [left] = tmp_path.iterdir()
    assert left.name.startswith(DRAFT)
    assert remove_leftovers(tmp_path) == [left]
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_being_made_stays(tmp_path: Path) -> None:
    with Writer(tmp_path / "saved.tar") as writer:
        assert remove_leftovers(tmp_path) == []
        assert writer.draft.exists()


def test_a_scratch_folder_goes_with_what_is_in_it(tmp_path: Path) -> None:
    left, used = tmp_path / f"{SCRATCH}left", tmp_path / f"{SCRATCH}used"
    for folder in (left, used):
        (folder / "mongodb").mkdir(parents=True)
        (folder / "mongodb" / "WiredTiger").touch()
    descriptor = hold(used)
    try:
        assert remove_leftovers(tmp_path) == [left]
        assert used.exists()
    finally:
        os.close(descriptor)


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"{SCRATCH}link").symlink_to(elsewhere)
    (tmp_path / ".khala-notes").touch()
    assert remove_leftovers(tmp_path) == []
    assert elsewhere.exists()
