"""A whole Khala on loopback, out of the real file, and the faults a test can do to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from khala.net.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
PEX = ROOT / "dist" / "khala.pex"
START_TIMEOUT_S = 120.0

Form = dict[str, str | bytes]

EMPTY_FORM: Form = {
    "user": "0",
    "compile_command": "",
    "compile_timeout": "10",
    "execute_input": "",
    "execute_command": "",
    "execute_timeout": "10",
    "execute_standard": "",
}
README_TASK: Form = {
    **EMPTY_FORM,
    "compile_source_name": "main.cpp",
    "compile_source_str": """#include <iostream>
using namespace std;
char str[100];
int main()
{
    cin.getline(str, 100);
    cout << "From Khala: " << str << endl;
    return 0;
}
""",
    "compile_command": "g++ -g -Wall -o main main.cpp",
    "compile_timeout": "10",
    "execute_input": "Hello World!",
    "execute_command": "./main",
    "execute_timeout": "1",
}


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Poll until `condition` is true; its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.05)
    return value


def trap_beside(data_dir: Path) -> Path:
    """A working directory whose modules are not Khala's, though they have the names of some."""
    folder = data_dir.parent
    for name in ("khala", "roles", "sanic"):
        (folder / f"{name}.py").write_text(
            "raise SystemExit('imported from where I was started')\n"
        )
    return folder


class Khala:
    """`khala.pex up` in a directory of its own; may be started again in the same directory."""

    def __init__(self, data_dir: Path, *, slots: int = 2, options: tuple[str, ...] = ()) -> None:
        self.data_dir = data_dir
        peer, client, mongodb, rpc, http = free_ports(5)
        self.http_port = http
        self.url = f"http://127.0.0.1:{http}"
        self.ports = {
            "etcd_peer": peer,
            "etcd_client": client,
            "mongodb": mongodb,
            "rpc": rpc,
        }
        self._argv = [
            *(str(PEX), "up", "--data-dir", str(data_dir), "--slots", str(slots)),
            *("--etcd-peer-port", str(peer), "--etcd-client-port", str(client)),
            *("--mongodb-port", str(mongodb), "--rpc-port", str(rpc)),
            *("--http-port", str(http), *options),
        ]
        self.log = data_dir.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the URL line is printed, as a person would wait for it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._argv,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=trap_beside(self.data_dir),
                start_new_session=True,
            )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        printed = b""

        def url_printed() -> bool:
            nonlocal printed
            assert self.process is not None and self.process.stdout is not None
            assert self.process.poll() is None, f"up ended:\n{self.log_tail()}"
            printed += self.process.stdout.read() or b""
            return self.url.encode() in printed

        try:
            wait_until(url_printed, START_TIMEOUT_S, "the URL line of up")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def stop(self) -> None:
        """Ctrl-C, as a person would."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        self.reap()

    def reap(self) -> None:
        """Forget a process that has ended."""
        if self.process is not None:
            self.process.wait(20)
            if self.process.stdout is not None:
                self.process.stdout.close()
        self.process = None

    def destroy(self) -> None:
        """Leave nothing behind, whatever state the test ended in."""
        with contextlib.suppress(Exception):
            self.stop()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.reap()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    # ---- processes --------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """Every living process below `up`, and `up` itself."""
        return sorted(self.argv_by_pid())

    def argv_by_pid(self) -> dict[int, list[str]]:
        """Found by this stack's own data directory, port or ancestry, never by name alone."""
        parents: dict[int, int] = {}
        argvs: dict[int, list[str]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, ValueError):
                stat = (entry / "stat").read_text()
                state, ppid = stat.rpartition(")")[2].split()[:2]
                if state != "Z":
                    pid = int(entry.name)
                    parents[pid] = int(ppid)
                    argvs[pid] = (entry / "cmdline").read_bytes().decode().split("\0")
        ours = {
            pid
            for pid, argv in argvs.items()
            if any(str(self.data_dir) in argument for argument in argv)
        }
        if self.process is not None:
            ours.add(self.process.pid)
        while True:
            below = {pid for pid, parent in parents.items() if parent in ours} - ours
            if not below:
                return {pid: argvs[pid] for pid in ours if pid in argvs}
            ours |= below

    def pid_of(self, word: str) -> int:
        """The process whose argv has `word`: a role, or the name of a program."""
        for pid, argv in sorted(self.argv_by_pid().items()):
            if any(Path(argument).name == word for argument in argv):
                return pid
        raise AssertionError(f"no process of {word!r} among {self.argv_by_pid()}")

    def kill9(self, word: str) -> None:
        """Kill the first one found; jails come and go, so it may take a few looks."""

        def killed() -> bool:
            with contextlib.suppress(AssertionError, ProcessLookupError):
                os.kill(self.pid_of(word), signal.SIGKILL)
                return True
            return False

        wait_until(killed, 10, f"a process of {word!r} is killed")

    def kill9_everything(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.pids_alive(), 20, "all processes are dead")
        self.reap()

    def pids_alive(self) -> list[int]:
        """As `pids`, without a child that only waits to be reaped by us."""
        if self.process is not None:
            self.process.poll()
        return self.pids()

    # ---- HTTP -------------------------------------------------------------------------------

    def call(self, method: str, path: str, form: Form | None = None) -> tuple[int, Any]:
        """Status and decoded JSON (or text) of one request."""
        body = urllib.parse.urlencode(form).encode() if form is not None else None
        return ask(urllib.request.Request(self.url + path, data=body, method=method))

    def send(self, method: str, path: str, document: dict[str, Any]) -> tuple[int, Any]:
        """The same with a body of JSON."""
        request = urllib.request.Request(
            self.url + path, data=json.dumps(document).encode(), method=method
        )
        request.add_header("Content-Type", "application/json")
        return ask(request)

    def submit(self, **fields: str) -> str:
        """A task's id; retries while the service says that nothing happened."""
        form = {**EMPTY_FORM, **fields}

        def accepted() -> str | None:
            with contextlib.suppress(OSError):
                status, answer = self.call("POST", "/api/task", form)
                if status == 200 and answer["result"] == 0:
                    return str(answer["id"])
            return None

        return str(wait_until(accepted, 60, "the task is accepted"))

    def task(self, task: str) -> dict[str, Any]:
        status, answer = self.call("GET", f"/api/task?id={task}&no_truncate=1")
        assert status == 200, answer
        found: dict[str, Any] = answer["task"]
        return found

    def explain(self, task: str) -> dict[str, Any]:
        """A task by the second API; asks again while the service says that it cannot know now, as
        it does for a moment after one of its processes was killed."""

        def told() -> dict[str, Any] | None:
            with contextlib.suppress(OSError):
                status, answer = self.call("GET", f"/api/v2/tasks/{task}")
                assert status in {200, 503}, answer
                return answer if status == 200 else None
            return None

        found: dict[str, Any] = wait_until(told, 60, f"task {task} can be read")
        return found

    def wait_done(self, task: str, timeout_s: float = 60) -> dict[str, Any]:
        def done() -> dict[str, Any] | None:
            with contextlib.suppress(OSError, AssertionError):
                found = self.task(task)
                return found if found["done"] else None
            return None

        found: dict[str, Any] = wait_until(done, timeout_s, f"task {task} is done")
        return found


@contextlib.contextmanager
def running(data_dir: Path, **options: Any) -> Iterator[Khala]:
    khala = Khala(data_dir, **options)
    try:
        khala.start()
        yield khala
    finally:
        khala.destroy()


def ask(request: urllib.request.Request) -> tuple[int, Any]:
    """Status and decoded JSON, or text."""
    try:
        with urllib.request.urlopen(request, timeout=40) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode(errors="replace")
