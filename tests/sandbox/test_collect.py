"""What hostile work directories make of the walk through them: nothing that matters."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from khala.model.limits import ARTIFACT_FILES, ARTIFACT_NAMES_BYTES, MIB
from khala.model.outcome import Artifacts, LeftOut, Omission
from khala.model.spec import ArtifactRequest
from sandbox import artifacts as collecting
from sandbox.collect import Bounds, Found, Obstacle, Walk
from tests.sandbox.harness import ACL, Runner

OpenTop = Callable[[], int]
BOUNDS = Bounds(entries=100_000, depth=64, seconds=60.0)


def request(*globs: str, max_bytes: int = MIB, max_files: int = 100) -> ArtifactRequest:
    return ArtifactRequest(globs=globs or ("**",), max_bytes=max_bytes, max_files=max_files)


class Collector:
    def __init__(self, top: Path, open_top: OpenTop, target: Path) -> None:
        self.top, self._open_top, self._target = top, open_top, target

    def __call__(self, *globs: str, max_bytes: int = MIB, max_files: int = 100) -> Artifacts:
        asked = request(*globs, max_bytes=max_bytes, max_files=max_files)
        taking = collecting.Collector(asked, self._target)
        taking.add(self._open_top())
        return taking.done()

    def contents(self, found: Artifacts) -> dict[bytes, bytes]:
        """By name, cut out of the one file; checks sizes and sums on the way."""
        data, at, contents = self._target.read_bytes(), 0, {}
        for file in found.files:
            content = data[at : at + file.size_bytes]
            at += file.size_bytes
            assert hashlib.sha256(content).digest() == file.sha256
            assert zlib.crc32(content) == file.crc32
            contents[file.name] = content
        assert at == len(data) == found.size_bytes
        return contents

    def walk(self, bounds: Bounds = BOUNDS) -> list[Found | Obstacle]:
        with Walk(self._open_top(), bounds) as walk:
            return list(walk)


@pytest.fixture
def collector(
    tmp_path: Path, folder_fd: OpenTop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    yield Collector(tmp_path, folder_fd, tmp_path_factory.mktemp("service") / "artifacts")
    # Some of these trees are too deep for whoever recurses into them.
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


def test_files_come_in_the_order_of_names(collector: Collector) -> None:
    for name in ("b", "a/z", "a/b/c", "empty"):
        path = collector.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else name.encode())
    (collector.top / "b").chmod(0o700)
    found = collector()
    assert list(collector.contents(found).items()) == [
        (b"a/b/c", b"a/b/c"),
        (b"a/z", b"a/z"),
        (b"b", b"b"),
        (b"empty", b""),
    ]
    assert [file.executable for file in found.files] == [False, False, True, False]
    assert found.left_out == {}
    assert list(collector.contents(collector("*"))) == [b"b", b"empty"]
    assert list(collector.contents(collector("a/*", "a/b/*"))) == [b"a/b/c", b"a/z"]


@pytest.mark.timeout(20)
def test_nothing_is_followed_and_nothing_blocks(collector: Collector, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}.outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    top = collector.top
    (top / "shadow").symlink_to("/etc/shadow")
    (top / "secret").symlink_to(outside / "secret")
    (top / "folder").symlink_to(outside)
    (top / "loop").symlink_to("loop")
    (top / "up").symlink_to("..")
    os.mkfifo(top / "pipe")
    if Path("/proc/self/uid_map").read_text().split()[2] == str(2**32 - 1):
        os.mknod(top / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    else:  # no user namespace but the first one makes devices
        os.mkfifo(top / "device")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(top / "socket"))
    server.close()
    (top / "plain").write_bytes(b"plain")
    found = collector("**", "folder/*", "up/*")
    assert collector.contents(found) == {b"plain": b"plain"}
    assert set(found.left_out) == {Omission.NOT_A_FILE}
    assert found.left_out[Omission.NOT_A_FILE].count == 8
    assert found.left_out[Omission.NOT_A_FILE].names == (b"device", b"folder", b"loop")
    # What was not asked for is not left out.
    assert collector("plain").left_out == {}


def test_names_of_any_bytes(collector: Collector) -> None:
    names = [
        b"two\nlines",
        b"\xff\xfe",
        b"...",
        b"-rf",
        b"n" * 255,
        b"a\\..\\b",
        b"\x1b[31m",
        b"C:",
    ]
    for name in names:
        with open(os.fsencode(collector.top) + b"/" + name, "wb") as file:
            file.write(name)
    assert collector.contents(collector()) == {name: name for name in names}


def test_a_tree_that_goes_down_further_than_is_looked_at(collector: Collector) -> None:
    fd = os.open(collector.top, os.O_RDONLY)
    for level in range(2000):
        os.close(os.open(f"file{level}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    open_before = len(os.listdir("/proc/self/fd"))
    found = collector()
    assert len(found.files) == 65
    assert found.left_out[Omission.TOO_DEEP].count == 1
    # The folder is the 65th below the top; names are cut for people.
    assert found.left_out[Omission.TOO_DEEP].names == (b"/".join([b"d"] * 65)[:200],)
    # One for the top, which the fixture closes.
    assert len(os.listdir("/proc/self/fd")) == open_before + 1


def test_more_files_than_are_kept(collector: Collector) -> None:
    for number in range(1200):
        (collector.top / f"{number:04}").write_bytes(b"x")
    found = collector(max_files=3)
    assert list(collector.contents(found)) == [b"0000", b"0001", b"0002"]
    assert found.left_out[Omission.TOO_MANY].count == 1197
    assert found.left_out[Omission.TOO_MANY].names == (b"0003", b"0004", b"0005")
    assert len(collector(max_files=10**9).files) == ARTIFACT_FILES


def test_names_together_are_bounded(collector: Collector) -> None:
    for number in range(400):
        (collector.top / f"{number:0250}").write_bytes(b"")
    found = collector(max_files=1000)
    assert len(found.files) == ARTIFACT_NAMES_BYTES // 250
    assert found.left_out[Omission.TOO_MANY].count == 400 - len(found.files)


def test_a_hundred_thousand_names_end_at_the_bound(collector: Collector) -> None:
    for folder in range(2):
        (collector.top / f"d{folder}").mkdir()
        first = collector.top / f"d{folder}" / "first"
        first.write_bytes(b"")
        for number in range(49_999):
            os.link(first, collector.top / f"d{folder}" / str(number))
    seen = collector.walk(Bounds(entries=60_000, depth=64, seconds=60))
    assert len(seen) == 60_001
    assert seen[-1] == Obstacle(seen[-1].name, Omission.NOT_REACHED)
    assert seen[-1].name.startswith(b"d1/")
    seen = collector.walk(Bounds(entries=1000, depth=64, seconds=60))
    assert len(seen) == 1001 and seen[-1] == Obstacle(seen[-1].name, Omission.NOT_REACHED)


def test_time_and_cancellation_end_the_walk(collector: Collector) -> None:
    (collector.top / "a").write_bytes(b"")
    assert collector.walk(Bounds(entries=10, depth=64, seconds=-1.0)) == [
        Obstacle(b"a", Omission.NOT_REACHED)
    ]
    top_fd = os.open(collector.top, os.O_RDONLY)
    with Walk(top_fd, BOUNDS, lambda: True) as walk:
        assert list(walk) == [Obstacle(b"a", Omission.NOT_REACHED)]
    os.close(top_fd)


def test_a_file_of_a_terabyte_is_too_large_before_it_is_read(collector: Collector) -> None:
    with open(collector.top / "huge", "wb") as file:
        file.truncate(1 << 40)
    (collector.top / "small").write_bytes(b"x" * 600_000)
    (collector.top / "too").write_bytes(b"x" * 600_000)
    (collector.top / "x").write_bytes(b"x")
    started = time.process_time()
    found = collector()
    assert time.process_time() - started < 5
    assert list(collector.contents(found)) == [b"small", b"x"]
    assert found.left_out[Omission.TOO_LARGE].names == (b"huge", b"too")


def test_hard_links_are_files_of_their_own(collector: Collector) -> None:
    (collector.top / "a").write_bytes(b"one")
    os.link(collector.top / "a", collector.top / "b")
    assert collector.contents(collector()) == {b"a": b"one", b"b": b"one"}


def test_a_file_replaced_after_it_was_looked_at(collector: Collector) -> None:
    (collector.top / "a").write_bytes(b"one")
    top_fd = os.open(collector.top, os.O_RDONLY)
    replacements: list[Callable[[Path], object]] = [
        lambda path: path.symlink_to("/etc/passwd"),
        os.mkfifo,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b"two"),
        lambda path: None,
    ]
    path = collector.top / "a"
    for replace in replacements:
        with Walk(top_fd, BOUNDS) as walk:
            found = next(iter(walk))
            assert isinstance(found, Found)
            kept = path.rename(collector.top / "kept")  # so that its inode is not used again
            replace(path)
            assert found.open() is None
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        kept.rename(path)
    os.close(top_fd)


def test_modification_times_are_those_a_zip_can_have(collector: Collector) -> None:
    for name, seconds in (("a", 0), ("b", -(2**33)), ("c", 2**34), ("d", 1_700_000_000)):
        (collector.top / name).write_bytes(b"")
        os.utime(collector.top / name, (seconds, seconds))
    years = [time.gmtime(file.modified_s).tm_year for file in collector().files]
    assert years == [1980, 1980, 2107, 2023]


def test_a_full_disk_of_the_service_is_its_own_trouble(collector: Collector) -> None:
    (collector.top / "a").write_bytes(b"x")
    top_fd = os.open(collector.top, os.O_RDONLY)
    with pytest.raises(OSError, match="No space left"):
        collecting.Collector(request(), Path("/dev/full")).add(top_fd)
    os.close(top_fd)


async def test_what_a_task_left_in_its_box(runner: Runner, tmp_path: Path) -> None:
    """With every trick the task itself can do, and its permissions in the way."""
    command = r"""
        mkdir -p out/locked deep; echo result > out/result; echo log > out/locked/log
        chmod 0 out/locked/log out/locked; ln -s /etc/passwd out/passwd; mkfifo out/pipe
        ln -s /proc/self/environ out/environ; ln -s .. out/up
        printf x > $'out/a\nb'; ln out/result out/again; echo '#!' > out/tool; chmod 4711 out/tool
        truncate -s 1T out/huge 2>/dev/null; chmod 0 out .; exit 0
    """
    target = tmp_path / "artifacts"
    async with runner.sandbox.box(0) as box:
        await runner.finish(box, runner.job(command, file_bytes=1 << 41))
        taking = collecting.Collector(request("out/**"), target)
        await box.collect(taking)
    found = taking.done()
    assert {file.name: file.size_bytes for file in found.files} == {
        b"out/a\nb": 1,
        b"out/again": 7,
        b"out/locked/log": 4,
        b"out/result": 7,
        b"out/tool": 3,
    }
    assert [file.name for file in found.files if file.executable] == [b"out/tool"]
    assert target.read_bytes() == b"xresult\nlog\nresult\n#!\n"
    assert found.left_out[Omission.NOT_A_FILE].count == 4
    assert found.left_out[Omission.TOO_LARGE].names == (b"out/huge",)


async def test_rights_by_default_stay_in_the_box(runner: Runner, tmp_path: Path) -> None:
    """Access control lists of a task are in nobody's way, and no part of what is collected."""
    command = f"mkdir out; {ACL} out default; echo x > out/listed; {ACL} out/listed access"
    target = tmp_path / "artifacts"
    async with runner.sandbox.box(0) as box:
        ran = await runner.finish(box, runner.job(command))
        assert ran.outcome.exit_code == 0, ran.stderr
        taking = collecting.Collector(request("out/**"), target)
        await box.collect(taking)
    found = taking.done()
    assert [(file.name, file.executable) for file in found.files] == [(b"out/listed", True)]
    assert found.left_out == {}
    assert target.read_bytes() == b"x\n"
    assert os.listxattr(target) == []


class Boxes:
    """Folders that begin as copies of the first one, as the boxes of cases do."""

    def __init__(self, top: Path, asked: ArtifactRequest) -> None:
        self.top = top
        self.target = top / "artifacts"
        self.taking = collecting.Collector(asked, self.target)

    def add(self, name: str, files: dict[str, str]) -> None:
        folder = self.top / "boxes" / name
        if name != "compile":
            shutil.copytree(self.top / "boxes" / "compile", folder)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        top_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.taking.add(top_fd, f"{name}/".encode())
        finally:
            os.close(top_fd)


def test_of_further_boxes_only_what_is_new_or_other_is_taken(tmp_path: Path) -> None:
    boxes = Boxes(tmp_path, request())
    boxes.add("compile", {"main": "program", "log": "made"})
    boxes.add("cases/1", {"out/1": "new", "log": "other"})
    boxes.add("cases/2", {})
    found = boxes.taking.done()
    assert [file.name for file in found.files] == [
        b"compile/log",
        b"compile/main",
        b"cases/1/log",
        b"cases/1/out/1",
    ]
    assert boxes.target.read_bytes() == b"madeprogramothernew"
    assert found.left_out == {}


def test_bounds_are_for_all_boxes_together(tmp_path: Path) -> None:
    boxes = Boxes(tmp_path, request(max_bytes=20, max_files=3))
    boxes.add("compile", {"a": "x" * 8, "too large": "x" * 30})
    boxes.add("cases/1", {"b": "y" * 8})
    boxes.add("cases/2", {"b": "z" * 8, "c": "z" * 4})
    boxes.add("cases/3", {"d": ""})
    found = boxes.taking.done()
    assert [file.name for file in found.files] == [b"compile/a", b"cases/1/b", b"cases/2/c"]
    assert boxes.target.read_bytes() == b"x" * 8 + b"y" * 8 + b"z" * 4
    assert found.left_out == {
        Omission.TOO_LARGE: LeftOut(count=2, names=(b"compile/too large", b"cases/2/b")),
        Omission.TOO_MANY: LeftOut(count=1, names=(b"cases/3/d",)),
    }


def test_time_is_for_all_boxes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "ARTIFACT_SECONDS", 0.0)
    boxes = Boxes(tmp_path, request())
    boxes.add("compile", {"a": "x"})
    boxes.add("cases/1", {"b": "y"})
    found = boxes.taking.done()
    assert found.files == ()
    assert found.left_out[Omission.NOT_REACHED].count == 2
