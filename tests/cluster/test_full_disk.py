"""Backups on disks that are too small: what was there stays, what was begun goes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from khala.cli import EXIT_UNAVAILABLE
from tests.cluster.harness import PEX, Khala, running

pytestmark = pytest.mark.timeout(600)
#: Takes the backup, and not the MongoDB that it is tried in.
SMALL_MIB = 26
#: Not even the backup.
TINY_MIB = 1


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    said: str
    #: What the disk holds afterwards.
    names: list[str]


@dataclass(frozen=True, slots=True)
class Saved:
    cluster: Khala
    file: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    folder = tmp_path_factory.mktemp("saved")
    with running(folder / "old") as cluster:
        noise = "head -c 3000000 /dev/urandom | base64"
        for task in [cluster.submit(execute_command=noise) for _ in range(4)]:
            cluster.wait_done(task)
        file = folder / "saved.tar"
        made = subprocess.run(
            [str(PEX), "backup", "create", "--no-verify", "-o", str(file), *place(cluster)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        yield Saved(cluster, file)


def place(cluster: Khala) -> tuple[str, ...]:
    return ("--data-dir", str(cluster.data_dir), "--mongodb-port", str(cluster.ports["mongodb"]))


def on_a_disk(disk: Path, mib: int, *words: str, holds: Path | None = None) -> Ran:
    """Run `khala.pex backup` where `disk` is one of so many MiB, which may hold a file already."""
    disk.mkdir()
    listing = disk.with_suffix(".names")
    script = """
        mount -t tmpfs -o size="$MIB"m none "$DISK" || exit 99
        if [[ -n $HOLDS ]]; then cp -- "$HOLDS" "$DISK" || exit 99; fi
        "$@"; code=$?
        ls -A "$DISK" >"$LISTING"
        exit $code
    """
    ran = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "disk", str(PEX), "backup", *words],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "MIB": str(mib),
            "DISK": str(disk),
            "HOLDS": str(holds or ""),
            "LISTING": str(listing),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    return Ran(ran.returncode, ran.stderr, listing.read_text().split())


def test_a_disk_too_small_for_the_backup(saved: Saved, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    ran = on_a_disk(disk, TINY_MIB, "create", "-o", f"{disk}/s.tar", *place(saved.cluster))
    assert ran.code == EXIT_UNAVAILABLE, ran
    assert "No space left on device; nothing is left" in ran.said
    assert ran.names == []


def test_a_disk_too_small_for_its_trial(saved: Saved, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    ran = on_a_disk(disk, SMALL_MIB, "create", "-o", f"{disk}/s.tar", *place(saved.cluster))
    assert ran.code == EXIT_UNAVAILABLE, ran
    assert "is there room?" in ran.said
    assert ran.names == []


def test_a_backup_is_kept_whose_trial_found_no_room(saved: Saved, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    ran = on_a_disk(disk, SMALL_MIB, "verify", f"{disk}/saved.tar", holds=saved.file)
    assert ran.code == EXIT_UNAVAILABLE, ran
    assert "is there room?" in ran.said
    assert ran.names == ["saved.tar"]


def test_a_disk_too_small_for_what_is_restored(saved: Saved, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    ran = on_a_disk(disk, SMALL_MIB, "restore", str(saved.file), "--data-dir", str(disk))
    assert ran.code == EXIT_UNAVAILABLE, ran
    assert "is there room?" in ran.said
    # So that the same command works when there is room.
    assert ran.names == ["lock"]
