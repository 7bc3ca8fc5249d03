"""Checks that look for themselves, on good and on broken places; and how failures stay apart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from khala.config.load import Given, load
from khala.config.settings import Settings
from khala.model.errors import Rejected
from khala.protocol.doctor import Level
from roles.doctor import disk, machine, servers
from roles.doctor.apart import apart, attempt
from roles.doctor.finding import Finding, good, missing


def _settings(**values: str) -> Settings:
    flags = {key.replace("__", "."): Given(value=value, flag=key) for key, value in values.items()}
    return load("doctor", flags, {}, None)[0]


def test_this_machine_is_looked_at() -> None:
    settings = _settings(executor__slots="1")
    for check in (machine.check_python, machine.check_kernel, machine.check_memory):
        assert check(settings).level is not Level.MISSING
    assert "synchronised" in machine.check_clock(settings).found


def test_a_data_directory_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    settings = _settings(data_dir=str(folder))
    assert disk.check_data_dir(settings).found.startswith(f"{folder} (made at the first start), on")
    assert disk.check_space(settings).found.endswith("free")
    assert "over" in disk.check_sync(settings).found
    assert list(tmp_path.iterdir()) == []


def test_an_existing_data_directory_is_left_as_it_was(tmp_path: Path) -> None:
    found = disk.check_data_dir(_settings(data_dir=str(tmp_path)))
    assert found.found.startswith(f"{tmp_path}, on ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_data_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    found = attempt(lambda: disk.check_data_dir(_settings(data_dir=str(file))))
    assert found.level is Level.MISSING
    assert found.found.startswith(f"--data-dir: {file} cannot be written")


def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    settings = _settings(secret_file=str(file))
    assert servers.check_secret(settings) == good(f"{file} is made by the judicator's first start")
    file.write_text("x" * 32)
    file.chmod(0o644)
    found = attempt(lambda: servers.check_secret(settings))
    assert found.level is Level.MISSING and f"chmod 600 {file}" in found.found
    file.chmod(0o600)
    assert servers.check_secret(settings) == good(str(file))


def test_the_programs_are_found_with_their_versions() -> None:
    settings = _settings()
    assert servers.check_etcd(settings).found.startswith("etcd Version: 3.")
    assert servers.check_mongod(settings).found.startswith("db version v")
    assert servers.check_nsjail(settings).level is Level.GOOD


def test_a_missing_program_is_told_as_the_role_tells_it() -> None:
    found = attempt(lambda: servers.check_nsjail(_settings(nsjail__bin="/nonexistent")))
    assert found.level is Level.MISSING
    assert found.found.startswith("--nsjail-bin: /nonexistent is not an executable file")


def test_a_library_that_mongod_lacks(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.write_text(
        "#!/bin/sh\necho 'mongod: error while loading shared libraries: libcurl.so.4: cannot open"
        " shared object file' >&2\nexit 127\n"
    )
    program.chmod(0o755)
    found = attempt(lambda: servers.check_mongod(_settings(mongodb__bin=str(program))))
    assert found.level is Level.MISSING and "apt-get install libcurl4" in found.found


def _reject() -> Finding:
    raise Rejected("it is refused; repair with: this")


def _break() -> Finding:
    raise ZeroDivisionError("in the check")


def _os_error() -> Finding:
    raise PermissionError(13, "Permission denied", "/x")


@pytest.mark.parametrize("run_check", [attempt, apart])
def test_a_failing_check_is_a_finding(
    run_check: Callable[[Callable[[], Finding]], Finding],
) -> None:
    assert run_check(_reject) == missing("it is refused; repair with: this")
    assert run_check(_os_error) == missing("[Errno 13] Permission denied: '/x'")
    broken = run_check(_break)
    assert broken.level is Level.MISSING
    assert broken.found == "the check itself failed: ZeroDivisionError: in the check"


def test_what_a_check_apart_does_to_its_process_stays_there() -> None:
    def change() -> Finding:
        os.chdir("/")
        os.environ["KHALA_TEST_APART"] = "1"
        return good(str(os.getpid()))

    before = os.getcwd()
    assert apart(change).found != str(os.getpid())
    assert os.getcwd() == before and "KHALA_TEST_APART" not in os.environ


def test_a_check_apart_that_hangs_or_dies_is_ended() -> None:
    def hang() -> Finding:
        time.sleep(600)
        return good("")

    def die() -> Finding:
        os._exit(3)

    assert apart(hang, 0.2) == missing("no answer within 0.2 s")
    assert apart(die) == missing("the trial ended without an answer (3)")


def test_what_a_check_apart_left_running_is_ended(tmp_path: Path) -> None:
    def leave() -> Finding:
        program = [sys.executable, "-c", "import time; time.sleep(600)"]
        return good(str(subprocess.Popen(program, stdout=subprocess.DEVNULL).pid))

    pid = int(apart(leave).found)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, f"{pid} runs on"
        time.sleep(0.01)
