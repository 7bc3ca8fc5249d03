"""With one protection taken away, the attacks that it stops get through, and their tests fail."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.sandbox.attacks.mutations import MUTATIONS

_FOLDER = "tests/sandbox/attacks"
_ROOT = Path(__file__).parents[3]
#: What nothing but the system call policy denies, on every kernel; and what it makes harmless.
_BY_POLICY = (
    *("ptrace itself", "ptrace the first process", "process_vm_readv", "pidfd_getfd", "kcmp"),
    *("add_key", "request_key", "keyctl new session", "io_uring_setup", "userfaultfd", "setns"),
    *("name_to_handle_at", "unshare user", "clone user", "clone3", "modify_ldt", "inotify_init"),
    *("io_setup", "socket vsock", "socket vsock with high bits", "netlink generic"),
    *("netlink netfilter", "typing into a terminal", "typing with high bits"),
    *("personality: map page zero", "socket filter", "large pages of a file"),
)
#: The tests that must fail; all of them pass without a mutation.
_CAUGHT = {
    "policy": [
        *(f"test_calls.py::test_denied[{name}]" for name in _BY_POLICY),
        "test_calls.py::test_every_number_that_is_not_allowed",
        "test_shared.py::test_shared[asynchronous requests]",
        "test_shared.py::test_the_host_keeps_its_share[inotify]",
    ],
    "network": [
        "test_neighbours.py::test_services_of_the_host[loopback]",
        "test_neighbours.py::test_services_of_the_host[none]",
    ],
    "loopback": ["test_neighbours.py::test_none_is_less_than_a_loopback_interface"],
    "ipc": ["test_memory.py::test_objects_of_system_v_do_not_outlive_a_task"],
    "pids": ["test_processes.py::test_processes[threads]"],
    "memory": ["test_shared.py::test_shared[local datagrams that nobody reads]"],
    "links": ["test_service_files.py::test_traps[symlink to a file of the host]"],
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_suite_misses_it(mutation: str, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "tests.sandbox.attacks.mutations", f"--junitxml={report}"]
    command += [f"{_FOLDER}/{test}" for test in _CAUGHT[mutation]]
    ran = subprocess.run(
        command,
        cwd=_ROOT,
        env={**os.environ, "KHALA_MUTATION": mutation},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert report.exists(), ran.stdout[-2000:] + ran.stderr[-2000:]
    failed = {case.get("name") for case in ET.parse(report).iter("testcase") if len(case)}
    assert failed == {test.partition("::")[2] for test in _CAUGHT[mutation]}, ran.stdout[-3000:]
