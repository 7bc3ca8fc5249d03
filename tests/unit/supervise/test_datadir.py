"""A data directory: whose it is, who uses it, which node it belongs to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from khala.model.errors import Rejected
from khala.supervise import datadir
from khala.supervise.datadir import keep_member_address, load_node, lock_dir, make_dir
from tests.unit.supervise.waiting import wait_until


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    made = make_dir(tmp_path / "deep" / "data")
    assert made.stat().st_mode & 0o777 == 0o700
    assert make_dir(made) == made
    assert list(made.iterdir()) == []


def test_a_directory_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Rejected, match=r"--data-dir: .*/file/data cannot be written: Not a dir"):
        make_dir(tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_a_stranger_s_directory_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    with pytest.raises(Rejected, match="belongs to user 4711, this process is user 0; change"):
        make_dir(tmp_path)


def test_a_node_stays_who_it_is(tmp_path: Path) -> None:
    node = load_node(tmp_path, "one")
    assert node.name == "one" and len(node.cluster) >= 16
    assert load_node(tmp_path, "renamed") == node
    assert load_node(make_dir(tmp_path / "other"), "two").cluster != node.cluster


def test_a_damaged_identity_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{}")
    with pytest.raises(Rejected, match=r"node\.json cannot be read"):
        load_node(tmp_path, "one")


@pytest.mark.parametrize("trace", ["etcd/member", "mongodb/WiredTiger"])
def test_data_without_an_identity_is_not_adopted(tmp_path: Path, trace: str) -> None:
    (tmp_path / trace).mkdir(parents=True)
    with pytest.raises(Rejected, match=r"no node\.json to say which; restore the file"):
        load_node(tmp_path, "one")


def test_an_identity_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.new").mkdir()
    with pytest.raises(Rejected, match=r"node\.json cannot be written"):
        load_node(tmp_path, "one")


def test_a_directory_in_use_is_refused_at_once(tmp_path: Path) -> None:
    lock = lock_dir(tmp_path)
    try:
        with pytest.raises(Rejected, match=f"is in use by process {os.getpid()}; stop it"):
            lock_dir(tmp_path)
    finally:
        os.close(lock)
    os.close(lock_dir(tmp_path))


HEIR = """
import os, subprocess, sys
from pathlib import Path
from khala.supervise.datadir import lock_dir
lock = lock_dir(Path(sys.argv[1]))
heir = subprocess.Popen(["sleep", "1000"], pass_fds=[lock], stdout=subprocess.DEVNULL)
print(heir.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def orphan(tmp_path: Path) -> int:
    """A database, so to speak, that has outlived its supervisor; its number."""
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    argv = [sys.executable, "-c", HEIR, str(tmp_path)]
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    return int(done.stdout)


def test_orphans_are_waited_for(
    orphan: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 3:
            os.kill(orphan, signal.SIGKILL)
            wait_until(lambda: not Path(f"/proc/{orphan}/fd/0").exists())

    # Its own clock: the module `time` is everybody's, `wait_until` above included.
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(datadir, "time", clock)
    os.close(lock_dir(tmp_path))
    assert len(asked) >= 3


def test_orphans_that_stay_are_named(
    orphan: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datadir, "ORPHANS_S", 0.2)
    try:
        with pytest.raises(Rejected, match="in use by a database that an earlier run has left"):
            lock_dir(tmp_path)
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_a_number_in_other_hands_is_not_mistaken(
    orphan: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file names a live process that did not write it."""
    monkeypatch.setattr(datadir, "ORPHANS_S", 0.0)
    (tmp_path / "lock").write_text(f"{os.getpid()} 1")
    try:
        with pytest.raises(Rejected, match="by a database"):
            lock_dir(tmp_path)
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_member_keeps_its_address(tmp_path: Path) -> None:
    (tmp_path / "mongodb").mkdir()
    keep_member_address(tmp_path, "127.0.0.1:3000")
    keep_member_address(tmp_path, "127.0.0.1:3000")
    with pytest.raises(Rejected, match="--mongodb-port 3000"):
        keep_member_address(tmp_path, "127.0.0.1:3100")


def test_a_restore_that_was_cut_off_is_not_an_empty_cluster(tmp_path: Path) -> None:
    (tmp_path / "mongodb.restoring").mkdir()
    with pytest.raises(Rejected, match=r"node\.json"):
        load_node(tmp_path, "a")
