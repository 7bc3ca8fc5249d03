"""The commands on backups: what they wait for, what they say, and how they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from khala.cli import cli
from khala.client import AsyncKhala
from khala.client.uploads import Progress
from khala.model.errors import NotFound, Rejected, Unavailable
from khala.protocol.backups import BackupState
from khala.protocol.v2 import Backup, Backups
from roles.client import backup_acts, exits
from roles.client.tables import Form

AT = datetime(2026, 11, 24, 7, tzinfo=UTC)
IDENTICAL = "restored into a scratch MongoDB and counted: identical"
ID = "5a1f0c2be97d4e63"
RUNNING = Backup(
    id=ID,
    judicator="b",
    state=BackupState.RUNNING,
    created_at=AT,
    finished_at=None,
    size_bytes=0,
    tasks=0,
    blobs=0,
    verified_at=None,
    verifying=False,
    error=None,
)
DONE = replace(
    RUNNING, state=BackupState.DONE, size_bytes=3 << 20, tasks=6, blobs=2, verified_at=AT
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_acts, "_LOOK_S", 0.0)


class Judicators:
    """A client whose backup goes through these; an error is raised."""

    def __init__(self, *looks: Backup | Unavailable, silent: tuple[str, ...] = ()) -> None:
        self.looks = [*looks]
        self.silent = [*silent]
        self.removed: list[str] = []
        self.asked: str | None = None

    async def create_backup(self, judicator: str | None = None) -> Backup:
        self.asked = judicator
        return RUNNING

    async def verify_backup(self, _: str) -> Backup:
        return replace(DONE, verifying=True)

    async def get_backup(self, _: str) -> Backup:
        found = self.looks.pop(0)
        if isinstance(found, Unavailable):
            raise found
        return found

    async def backups(self) -> Backups:
        items = [each for each in self.looks if isinstance(each, Backup)]
        return Backups(items=items, unreachable=self.silent)

    async def remove_backup(self, backup: str) -> None:
        if backup != ID:
            raise NotFound(f"there is no backup {backup!r}")
        self.removed.append(backup)

    async def download_backup(
        self, backup: str, file: Path, *, progress: Progress | None = None
    ) -> None:
        if file.exists():
            raise FileExistsError(17, "File exists", str(file))
        file.write_bytes(b"archive of " + backup.encode())

    @property
    def client(self) -> AsyncKhala:
        return cast(AsyncKhala, self)


async def test_taking_one_waits_until_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    judicators = Judicators(RUNNING, Unavailable("b is started again"), RUNNING, DONE)
    assert await backup_acts.take_backup(judicators.client, "b", wait=True) == 0
    assert (judicators.asked, judicators.looks) == ("b", [])
    said = capsys.readouterr()
    assert said.out == f"{ID}\n"
    assert said.err.splitlines() == [
        f"khala: b takes backup {ID}; it goes on without this command",
        f"khala: backup {ID} on b: 6 tasks, 3.0 MiB; {IDENTICAL}",
    ]


async def test_one_that_failed_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    failed = replace(RUNNING, state=BackupState.FAILED, error="the disk is full\x1b[2J")
    code = await backup_acts.take_backup(Judicators(failed).client, None, wait=True)
    assert code == exits.FAILED
    assert f"khala: backup {ID} failed: the disk is full\N{REPLACEMENT CHARACTER}[2J\n" in (
        capsys.readouterr().err
    )


async def test_nobody_waits_who_does_not_want_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert await backup_acts.take_backup(Judicators().client, None, wait=False) == 0
    assert await backup_acts.try_backup(Judicators().client, ID, wait=False) == 0
    assert capsys.readouterr().out == (
        f"{ID}\nb tries backup {ID}; see khala.pex backup get {ID}\n"
    )


@pytest.mark.parametrize(
    ("ended", "code", "words"),
    [
        (replace(DONE, verified_at=AT + timedelta(hours=1)), 0, "counted: identical"),
        (replace(DONE, verified_at=None, error="tasks/0: is missing"), 1, "tasks/0: is missing"),
        # It was restored once, and not now.
        (DONE, 1, "its judicator was stopped; try it again"),
    ],
)
async def test_a_trial_says_what_it_has_found(
    capsys: pytest.CaptureFixture[str], ended: Backup, code: int, words: str
) -> None:
    assert await backup_acts.try_backup(Judicators(ended).client, ID, wait=True) == code
    said = capsys.readouterr()
    assert words in (said.err if code else said.out)


async def test_nobody_waits_for_ever_for_a_judicator_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backup_acts, "_AWAY_S", -1.0)
    judicators = Judicators(RUNNING, Unavailable("it may be on b"))
    with pytest.raises(Unavailable, match="may be on b"):
        await backup_acts.take_backup(judicators.client, None, wait=True)


async def test_a_list_says_what_may_be_missing_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    judicators = Judicators(
        replace(DONE, verifying=True), replace(DONE, verified_at=None), RUNNING, silent=("c",)
    )
    assert await backup_acts.list_backups(judicators.client, Form.WIDE) == 0
    said = capsys.readouterr()
    rows = [line.split("  ") for line in said.out.splitlines()]
    states = [[cell.strip() for cell in row if cell][2] for row in rows]
    assert states == ["STATE", "being tried", "not restored", "running"]
    assert "2026-11-24T07:00:00Z" in said.out
    assert said.err == (
        "khala: judicator c cannot be asked just now; what it keeps is not listed\n"
    )
    assert await backup_acts.list_backups(judicators.client, Form.NAME) == 0
    assert capsys.readouterr().out == f"{ID}\n" * 3


async def test_one_of_them_in_lines_and_as_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert await backup_acts.show_backup(Judicators(DONE).client, ID, Form.TABLE) == 0
    shown = capsys.readouterr().out
    assert f"backup     {ID}\n" in shown
    assert "size       3.0 MiB\ntasks      6\nblobs      2\n" in shown
    assert await backup_acts.show_backup(Judicators(DONE).client, ID, Form.JSONL) == 0
    assert capsys.readouterr().out.startswith(f'{{"id":"{ID}","judicator":"b"')


async def test_a_download_replaces_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert await backup_acts.download_backup(Judicators().client, ID, None) == 0
    assert capsys.readouterr().out == f"khala-{ID}.tar  27 B\n"
    with pytest.raises(Rejected, match=r"FILE: .* exists; .* give another name"):
        await backup_acts.download_backup(Judicators().client, ID, None)
    with pytest.raises(Rejected, match=r"FILE: nowhere/a.tar cannot be written: No such file"):
        await backup_acts.download_backup(Judicators().client, ID, Path("nowhere/a.tar"))


async def test_all_that_can_be_removed_are(capsys: pytest.CaptureFixture[str]) -> None:
    judicators = Judicators()
    assert await backup_acts.remove_backups(judicators.client, ("f" * 16, ID)) == exits.NOT_FOUND
    assert judicators.removed == [ID]
    assert capsys.readouterr().out == f"{ID} removed\n"


def test_one_group_has_those_of_a_host_and_those_of_a_gateway() -> None:
    shown = CliRunner().invoke(cli, ["backup", "--help"]).output
    listed = [line.split()[0] for line in shown.partition("Commands:\n")[2].splitlines()]
    assert listed == ["create", "download", "get", "ls", "restore", "rm", "take", "try", "verify"]
