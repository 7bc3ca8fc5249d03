"""Directories of the host that operators show to tasks, wherever they are, whatever their name."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from khala.model.enforcement import Mode
from sandbox import Sandbox, SandboxConfig, mounts
from sandbox.host import enter_namespace
from tests.sandbox.harness import MODE, UID_BASE, Runner, find_nsjail

ODD = "gcc 13, with: odd é \\ names"


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Below directories that only root may enter, with a file system mounted in it."""
    hidden = tmp_path_factory.mktemp("root-only")
    hidden.chmod(0o700)
    top = hidden / ODD
    (top / "bin").mkdir(parents=True)
    (top / "lib" / "nested").mkdir(parents=True)
    (top / "bin" / "khala-cc").write_text('#!/bin/sh\nreadlink -f "$0"\n')
    (top / "bin" / "khala-cc").chmod(0o755)
    (top / "bin" / "ls").write_text("#!/bin/sh\necho the ls of the toolchain\n")
    (top / "bin" / "ls").chmod(0o755)
    enter_namespace()
    mounts.mount("none", str(top / "lib" / "nested"), "tmpfs", options="mode=1777")
    (top / "lib" / "nested" / "file").write_text("nested")
    yield top
    mounts.unmount(str(top / "lib" / "nested"))
    shutil.rmtree(top)


@pytest.fixture(scope="module")
async def exposing(runner: Runner, toolchain: Path) -> AsyncIterator[Runner]:
    link = toolchain.parent / "link"
    link.symlink_to(toolchain)
    before = os.umask(0o077)  # a careful operator's
    try:
        config = SandboxConfig(
            nsjail=find_nsjail(),
            name=f"test-exposed-{secrets.token_hex(4)}",
            slots=1,
            uid_base=UID_BASE + 220,
            allow_degraded=MODE is Mode.DEGRADED,
            exposed=(f"{toolchain}:/opt/{ODD}", f"{toolchain}:/opt/gcc", f"{link}:/opt/link"),
        )
        sandbox = await Sandbox.open(config)
    finally:
        os.umask(before)
    yield Runner(sandbox, config, runner.folder, toolchain)
    await sandbox.close()


async def test_below_a_directory_that_only_root_may_enter(exposing: Runner) -> None:
    ran = await exposing.run("cat /opt/gcc/lib/nested/file /opt/link/lib/nested/file")
    assert ran.stdout == b"nestednested"


async def test_odd_names(exposing: Runner) -> None:
    ran = await exposing.run(f"cat '/opt/{ODD}/lib/nested/file'")
    assert ran.stdout == b"nested"


async def test_read_only_all_the_way_down(exposing: Runner) -> None:
    ran = await exposing.run("touch /opt/gcc/x /opt/gcc/lib/nested/x; echo > /opt/gcc/bin/ls")
    assert ran.stderr.count(b"Read-only file system") == 3
    assert not (exposing.exposed / "lib" / "nested" / "x").exists()


async def test_programs_are_found_without_their_path(exposing: Runner) -> None:
    ran = await exposing.run("khala-cc; ls; echo $PATH")
    # The one whose path has a colon cannot stand in PATH; of the others the first counts.
    assert ran.text.splitlines() == [
        "/opt/gcc/bin/khala-cc",
        "the ls of the toolchain",
        "/opt/gcc/bin:/opt/link/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


async def test_a_task_may_have_a_path_of_its_own(exposing: Runner) -> None:
    ran = await exposing.run("echo $PATH", environment={"PATH": "/bin"})
    assert ran.stdout == b"/bin\n"
