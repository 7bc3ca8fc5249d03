"""Live output while processes die: what `run` prints has every byte once, and what an attempt wrote
before its executor died can be read for as long as its task."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import PEX, Khala, wait_until

#: Ten megabytes in numbered lines, in about ten seconds.
LINES = 1_000_000
STEP = LINES // 100
SCRIPT = f"""for n in $(seq 0 99); do
    seq $((n * {STEP} + 1)) $(((n + 1) * {STEP})) | sed 's/$/ ./'; sleep 0.1
done"""
EXPECTED = "".join(f"{n} .\n" for n in range(1, LINES + 1)).encode()
PATIENCE_S = 180.0


class Run:
    """`khala.pex run`, and what it has printed so far."""

    def __init__(self, khala: Khala, script: str) -> None:
        argv = [str(PEX), "run", "--url", khala.url, "--output", "32MiB", "--time", "2m"]
        self._process = subprocess.Popen(
            [*argv, "--", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.printed = bytearray()
        self.said = bytearray()
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self.printed)),
            threading.Thread(target=self._read, args=(self._process.stderr, self.said)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, into: bytearray) -> None:
        with stream:
            while piece := stream.read1(65536):
                into += piece

    def has_printed(self, size: int) -> bool:
        assert self._process.poll() in (None, 0), bytes(self.said)
        return len(self.printed) > size

    def wait(self) -> int:
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()


@pytest.mark.parametrize("word", ["gateway", "judicator-serve"])
def test_run_prints_every_byte_once_while_a_process_dies(own: Khala, word: str) -> None:
    wait_until(lambda: own.pid_of("executor"), 30, "the executor is there")
    run = Run(own, SCRIPT)
    try:
        for share in (5, 3, 2):  # in the middle of it, three times
            wait_until(partial(run.has_printed, len(EXPECTED) // share), 90, "it is printed")
            own.kill9(word)
        code = run.wait()
    finally:
        run.close()
    assert code == 0, bytes(run.said[-2000:])
    assert len(run.printed) == len(EXPECTED)
    assert run.printed == EXPECTED


def logs_of(khala: Khala, task: str, query: str) -> str:
    url = f"{khala.url}/api/v2/tasks/{task}/logs?stage=execute&stream=stdout{query}"
    with urllib.request.urlopen(url, timeout=30) as response:
        text: str = response.read().decode()
        return text


def test_what_a_lost_attempt_wrote_is_kept_and_apart(own: Khala, tmp_path: Path) -> None:
    command = 'echo "attempt $KHALA_ATTEMPT"; [ $KHALA_ATTEMPT = 1 ] && sleep 100; echo end'
    task = own.submit(execute_command=command, execute_timeout="120")
    wait_until(lambda: logs_of(own, task, "") == "attempt 1\n", 60, "the first attempt is heard")
    own.kill9("executor")
    began = time.monotonic()
    own.wait_done(task, timeout_s=120)
    assert time.monotonic() - began < 100
    assert logs_of(own, task, "&attempt=1") == "attempt 1\n"
    assert logs_of(own, task, "&attempt=2") == "attempt 2\nend\n"
    assert logs_of(own, task, "") == "attempt 2\nend\n"
