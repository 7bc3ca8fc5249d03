"""A backup taken while everything works, and the cluster that is made of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from khala.client import Khala as Client
from tests.cluster.harness import PEX, Khala, running


def backup(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PEX), "backup", *words], capture_output=True, text=True, timeout=120, check=False
    )


def kept(khala: Khala, *words: str) -> str:
    """What a command says on backups that judicators keep."""
    said = backup(*words, "--url", khala.url)
    assert said.returncode == 0, said.stderr
    return said.stdout


def kept_by_the_judicator(khala: Khala, file: Path) -> Path:
    """From the first to the last; the archive is what the command makes of the files here."""
    taken = kept(khala, "take").strip()
    done = khala.call("GET", f"/api/v2/backups/{taken}")[1]
    assert (done["state"], done["tasks"], done["error"]) == ("done", 6, None)
    assert done["verified_at"]
    archive = khala.data_dir / "backups" / f"{taken}.tar"
    assert (archive.stat().st_mode & 0o777, archive.stat().st_size) == (0o600, done["size_bytes"])
    assert archive.parent.stat().st_mode & 0o777 == 0o700
    assert str(file) in kept(khala, "download", taken, str(file))
    assert (file.stat().st_mode & 0o777, file.read_bytes()) == (0o600, archive.read_bytes())
    with Client(khala.url) as client:
        assert [each.id for each in client.backups().items] == [taken]
    assert "6 tasks" in kept(khala, "try", taken)
    tried = khala.call("GET", f"/api/v2/backups/{taken}")[1]
    assert tried["verified_at"] > done["verified_at"]
    assert kept(khala, "rm", taken) == f"{taken} removed\n"
    assert khala.call("GET", f"/api/v2/backups/{taken}")[0] == 404
    assert list(archive.parent.iterdir()) == []
    return file


def test_what_was_saved_is_there_and_what_was_not_done_is_done(tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    with running(tmp_path / "old") as old:
        done = [old.submit(execute_command=f"seq {n}00000") for n in (1, 2)]
        answers = [old.wait_done(task) for task in done]
        open_ones = [old.submit(execute_command=f"sleep 3; echo late {n}") for n in range(4)]
        location = ("--data-dir", str(old.data_dir), "--mongodb-port", str(old.ports["mongodb"]))
        created = backup("create", "-o", str(saved), *location)
        assert created.returncode == 0, created.stderr
        assert "6 tasks" in created.stdout
        assert "identical" in created.stdout
        again = backup("create", "-o", str(saved), *location)
        assert again.returncode == 2
        assert "replaces nothing" in again.stderr
        by_http = kept_by_the_judicator(old, tmp_path / "by-http.tar")

    new = Khala(tmp_path / "new")
    restored = backup("restore", str(by_http), "--data-dir", str(new.data_dir))
    assert restored.returncode == 0, restored.stderr
    refused = backup("restore", str(saved), "--data-dir", str(new.data_dir))
    assert refused.returncode == 2
    assert "has data" in refused.stderr
    try:
        new.start()
        assert [new.task(task) for task in done] == answers
        for n, task in enumerate(open_ones):
            assert new.wait_done(task)["result"]["execute_output"] == f"late {n}\n"
    finally:
        new.destroy()


def test_a_restore_that_is_cut_off_is_not_taken_for_an_empty_cluster(tmp_path: Path) -> None:
    """It can only happen between two names: the data has its own, the node has none yet."""
    (tmp_path / "data" / "mongodb").mkdir(parents=True, mode=0o700)
    (tmp_path / "data" / "mongodb" / "WiredTiger").touch()
    started = subprocess.run(
        [str(PEX), "judicator", "--data-dir", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 2
    assert "node.json" in started.stderr


def test_damage_is_said_before_anything_is_made(tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    saved.write_bytes(b"not a tar")
    refused = backup("restore", str(saved), "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 2
    assert "damaged" in refused.stderr
    assert not (tmp_path / "data").exists()
