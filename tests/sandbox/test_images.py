"""Root file systems beside the host's own, as directories and as squashfs files."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from khala.model.enforcement import Mode
from khala.model.errors import Rejected, Unavailable
from khala.model.outcome import Reason
from sandbox import Sandbox, SandboxConfig, mounts
from tests.sandbox.harness import MODE, UID_BASE, Ran, Runner, find_nsjail, leftovers, wait_for
from tests.sandbox.rootfs import loops_of, make_root, make_squashfs
from tests.sandbox.test_host import _start

IMAGES = ("folder", "file")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below a directory that only root may enter."""
    top = tmp_path_factory.mktemp("images")
    top.chmod(0o700)
    make_root(top / "tree", "a folder")
    make_squashfs(make_root(top / "packed", "a file"), top / "packed.squashfs")
    return top


@pytest.fixture(scope="module")
async def imaged(runner: Runner, place: Path) -> AsyncIterator[Runner]:
    """A sandbox with both kinds."""
    config = SandboxConfig(
        nsjail=find_nsjail(),
        name=f"test-images-{secrets.token_hex(4)}",
        slots=2,
        uid_base=UID_BASE + 200,
        allow_degraded=MODE is Mode.DEGRADED,
        images=(f"folder={place}/tree", f"file={place}/packed.squashfs"),
    )
    sandbox = await Sandbox.open(config)
    yield Runner(sandbox, config, runner.folder, runner.exposed)
    await sandbox.close()
    wait_for(lambda: loops_of(place / "packed.squashfs") == [], "a loop device was left")
    assert leftovers(config) == []


@pytest.fixture
def alone(place: Path) -> Iterator[SandboxConfig]:
    """Settings of a sandbox of the test's own."""
    before = loops_of(place / "packed.squashfs")
    yield SandboxConfig(
        nsjail=find_nsjail(),
        name=f"test-image-{secrets.token_hex(4)}",
        slots=1,
        uid_base=UID_BASE + 210,
        allow_degraded=MODE is Mode.DEGRADED,
    )
    wait_for(lambda: loops_of(place / "packed.squashfs") == before, "a loop device was left")


async def run(runner: Runner, image: str, command: str) -> Ran:
    job = msgspec.structs.replace(runner.job(command), image=image)
    async with runner.sandbox.box(0) as box:
        return await runner.finish(box, job)


@pytest.mark.parametrize("image", IMAGES)
async def test_a_task_runs_the_programs_of_its_image(imaged: Runner, image: str) -> None:
    ran = await run(imaged, image, "release; cat /etc/release /top-level; ls /")
    says = "a folder" if image == "folder" else "a file"
    assert ran.text.startswith(f"{says}\n{says}a file\n")
    shown = ran.text.splitlines()[2:]
    assert {"bin", "box", "dev", "etc", "opt", "proc", "tmp", "top-level", "usr"} <= set(shown)
    # Of the host nothing is left.
    assert {"sys", "run", "home", "root", "var"} & set(shown) == set()


@pytest.mark.parametrize("image", IMAGES)
async def test_an_image_gets_what_every_jail_has(imaged: Runner, image: str) -> None:
    ran = await run(
        imaged,
        image,
        "id -un; cat /etc/hosts; ls -A /dev /etc/ssl; cat /etc/ssl/link; echo x > /dev/null;"
        " touch /tmp/a /dev/shm/b c; ls /tmp /dev/shm; cat /proc/1/comm; pwd",
    )
    assert ran.stderr == b""
    lines = ran.text.splitlines()
    assert lines[0] == "task"
    assert "127.0.0.1 localhost khala" in lines
    assert {"null", "zero", "full", "random", "urandom", "shm", "stdin"} <= set(lines)
    assert lines[-2:] == ["sh", "/box/source"]


@pytest.mark.parametrize("image", IMAGES)
async def test_an_image_is_read_only_and_gives_no_rights(
    imaged: Runner, image: str, place: Path
) -> None:
    ran = await run(
        imaged,
        image,
        "touch /x /usr/x /etc/x /opt/x /usr/bin/x; echo > /usr/bin/release;"
        " cat /etc/shadow; cat /opt/null && echo opened; /opt/id -u; release",
    )
    errors = ran.stderr.decode()
    assert errors.count("Read-only file system") == 6
    assert errors.count("Permission denied") == 2
    # The setuid program of the image runs, as whoever started it.
    assert ran.text.splitlines()[0] == "1000"
    assert "opened" not in ran.text and "secret" not in ran.text
    assert not (place / "tree" / "usr" / "x").exists()


async def test_both_stages_may_see_different_programs(imaged: Runner) -> None:
    """The root belongs to the job, the box to the task."""
    async with imaged.sandbox.box(0) as box:
        for image in ("", *IMAGES, ""):
            job = msgspec.structs.replace(imaged.job("command -v release >> seen; echo >> seen"))
            await imaged.finish(box, msgspec.structs.replace(job, image=image))
        ran = await imaged.finish(box, imaged.job("cat seen"))
    assert ran.text == "\n/usr/bin/release\n\n/usr/bin/release\n\n\n"


async def test_an_image_that_is_not_there_is_nobodys_fault(imaged: Runner) -> None:
    with pytest.raises(Unavailable, match="this executor has no image 'gcc-13'"):
        await run(imaged, "gcc-13", "release")
    with pytest.raises(Unavailable, match="this executor has no image 'gcc-13'"):
        await imaged.sandbox.toolchain_identity("gcc-13")


async def test_images_are_shown_and_told_apart(imaged: Runner, place: Path) -> None:
    folder, file = imaged.sandbox.images
    assert (folder.name, file.name) == IMAGES
    assert file.size_bytes == (place / "packed.squashfs").stat().st_size
    assert folder.size_bytes > 1 << 20
    identities = [await imaged.sandbox.toolchain_identity(name) for name in ("", *IMAGES)]
    assert identities[1:] == [folder.identity, file.identity]
    assert len(set(identities)) == 3


async def test_a_copy_is_the_same_image_and_a_change_is_another(
    imaged: Runner, alone: SandboxConfig, tmp_path: Path, place: Path
) -> None:
    shutil.copytree(place / "packed", tmp_path / "copy", symlinks=True, ignore=_devices)
    copy = make_squashfs(tmp_path / "copy", tmp_path / "other.squashfs")
    twin = shutil.copy2(place / "packed.squashfs", tmp_path / "twin.squashfs")
    images = (f"other={copy}", f"twin={twin}")
    sandbox = await Sandbox.open(msgspec.structs.replace(alone, images=images))
    try:
        other, same = sandbox.images
    finally:
        await sandbox.close()
    _, file = imaged.sandbox.images
    assert same.identity == file.identity != other.identity


def _devices(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "null"]


async def test_a_mount_inside_an_image_is_read_only_too(
    alone: SandboxConfig, tmp_path: Path, runner: Runner
) -> None:
    tree = make_root(tmp_path / "tree", "with a mount")
    mounts.mount("none", str(tree / "opt"), "tmpfs", options="mode=1777")
    try:
        config = msgspec.structs.replace(alone, images=(f"tree={tree}",))
        sandbox = await Sandbox.open(config)
        try:
            tried = Runner(sandbox, config, runner.folder, runner.exposed)
            ran = await run(tried, "tree", "touch /opt/x; stat -f -c %T /opt")
        finally:
            await sandbox.close()
    finally:
        mounts.unmount(str(tree / "opt"))
    assert ran.stdout == b"tmpfs\n"
    assert b"Read-only file system" in ran.stderr


async def test_exposed_directories_are_the_hosts_and_not_the_images(
    alone: SandboxConfig, place: Path, runner: Runner
) -> None:
    config = msgspec.structs.replace(
        alone, images=(f"tree={place}/tree",), exposed=(str(runner.exposed),)
    )
    sandbox = await Sandbox.open(config)
    try:
        tried = Runner(sandbox, config, runner.folder, runner.exposed)
        here, there = [await run(tried, each, f"ls {runner.exposed}") for each in ("", "tree")]
    finally:
        await sandbox.close()
    assert "tool" in here.text
    assert there.outcome.reason is Reason.EXIT_NONZERO


def test_no_loop_device_survives_the_killing_of_the_service(
    alone: SandboxConfig, place: Path
) -> None:
    file = place / "packed.squashfs"
    before = len(loops_of(file))
    config = msgspec.structs.replace(alone, images=(f"file={file}",))
    with _start(config, "asyncio", "echo started; sleep 700") as process:
        wait_for(lambda: len(loops_of(file)) == before + 1, "the image is not mounted")
        process.kill()
    wait_for(lambda: len(loops_of(file)) == before, "a loop device was left")


def _without(name: str) -> object:
    def change(tree: Path) -> None:
        (tree / "usr" / "bin" / name).unlink()

    return change


def _empty(tree: Path) -> None:
    shutil.rmtree(tree)
    tree.mkdir()


def _crowded(tree: Path) -> None:
    for number in range(70):
        (tree / f"home-{number}").mkdir()


def _large_etc(tree: Path) -> None:
    (tree / "etc" / "large").write_bytes(bytes(9 << 20))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(_without("sh"), "a trial jail .* needs /bin/sh, bash", id="no sh"),
        pytest.param(_empty, "a trial jail in it did not work", id="empty"),
        pytest.param(_crowded, r"entries at its top \(limit 64\); is it the root", id="no root"),
        pytest.param(_large_etc, "its /etc has more than 4096 entries or 8388608", id="large etc"),
    ],
)
async def test_a_broken_image_is_refused_at_the_start(
    alone: SandboxConfig, tmp_path: Path, change: object, why: str
) -> None:
    tree = make_root(tmp_path / "tree", "broken")
    assert callable(change)
    change(tree)
    with pytest.raises(Rejected, match=f"--image: broken={tree}: .*{why}") as refused:
        await Sandbox.open(msgspec.structs.replace(alone, images=(f"broken={tree}",)))
    assert refused.value.field == "--image"
    assert alone.name not in Path("/proc/self/mounts").read_text()


async def test_an_image_without_bash_is_refused(alone: SandboxConfig, tmp_path: Path) -> None:
    tree = make_root(tmp_path / "tree", "broken")
    (tree / "usr" / "bin" / "sh").unlink()
    (tree / "usr" / "bin" / "bash").rename(tree / "usr" / "bin" / "sh")
    with pytest.raises(Rejected, match="did not work: it has no bash on PATH"):
        await Sandbox.open(msgspec.structs.replace(alone, images=(f"broken={tree}",)))


async def test_a_file_that_is_no_image_is_refused(alone: SandboxConfig, tmp_path: Path) -> None:
    (tmp_path / "zip").write_bytes(b"PK" * 100)
    with pytest.raises(Rejected, match="not a squashfs file; make one with: mksquashfs"):
        await Sandbox.open(msgspec.structs.replace(alone, images=(f"x={tmp_path}/zip",)))


async def test_a_damaged_file_is_refused(alone: SandboxConfig, tmp_path: Path, place: Path) -> None:
    data = bytearray((place / "packed.squashfs").read_bytes())
    data[20] = 99  # no such compression
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(Rejected, match=r"it cannot be mounted \(.*unsquashfs -d DIRECTORY"):
        await Sandbox.open(msgspec.structs.replace(alone, images=(f"x={tmp_path}/damaged",)))
    assert loops_of(tmp_path / "damaged") == []
