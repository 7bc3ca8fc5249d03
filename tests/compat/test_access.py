"""Users on a whole Khala of their own: the first one closes it, each role meets what it may not,
and what is revoked ends within seconds, at every gateway and with every stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from khala.client import Khala
from khala.net.ports import free_ports
from tests.compat.conftest import ROOT, STOP_S, Up, running

#: Costs nothing when it is met.
PATIENCE_S = 120.0
TASKS = "/api/v2/tasks"
SLEEPS = {"stages": {"execute": {"command": "sleep 300"}}}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("access")) as up:
        yield up


class Asker:
    """One who asks a gateway."""

    def __init__(self, base: str, token: str | None) -> None:
        self.base = base
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if body is not None else {}
        request = urllib.request.Request(
            self.base + path,
            data=data,
            method=method,
            headers={**self.headers, **kind, **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, _read(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error)

    def until(self, status: int, path: str) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.ask("GET", path))[0] != status:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found[1]


def _read(response: Any) -> Any:
    raw = response.read()
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw


@pytest.fixture(scope="module")
def people(up: Up) -> dict[str, Asker]:
    """The first user is made while the gateway is open; the others by that one."""
    nobody = Asker(up.url, None)
    assert nobody.ask("GET", "/api/v2/me")[1]["known_by"] == "open"
    status, answer = nobody.ask("POST", "/api/v2/users", {"name": "ann", "role": "viewer"})
    assert (status, answer["code"]) == (409, "not_possible")
    root = {"name": "root", "role": "admin", "token": {"name": "laptop"}}
    status, made = nobody.ask("POST", "/api/v2/users", root)
    assert status == 201
    assert nobody.ask("GET", TASKS)[0] == 401
    people = {"root": Asker(up.url, made["token"]["secret"]), "nobody": nobody}
    for name, role in (("vic", "viewer"), ("ann", "submitter"), ("ben", "submitter")):
        _make(up, people, name, role)
    _make(up, people, "olga", "operator")
    return people


def _make(up: Up, people: dict[str, Asker], name: str, role: str) -> None:
    user = {"name": name, "role": role, "token": {"name": "test"}}
    status, made = people["root"].ask("POST", "/api/v2/users", user)
    assert (status, made["user"]["role"]) == (201, role)
    people[name] = Asker(up.url, made["token"]["secret"])


def test_each_role_meets_what_it_may_not(people: dict[str, Asker]) -> None:
    preset: dict[str, Any] = {"task": {"labels": {"a": "b"}}}
    for path, method, body, may in [
        (TASKS, "GET", None, "vic ann olga root"),
        (f"{TASKS}?dry_run=true", "POST", SLEEPS, "ann olga root"),
        ("/api/v2/presets/mine", "PUT", preset, "olga root"),
        ("/api/v2/users", "GET", None, "root"),
        ("/api/v2/audit", "GET", None, "root"),
        ("/api/v2/cluster/config", "GET", None, "olga root"),
        ("/api/v2/cluster/config", "PATCH", {"quotas": None}, "root"),
    ]:
        for name in ("nobody", "vic", "ann", "olga", "root"):
            status, _ = people[name].ask(method, path, body)
            refused = 401 if name == "nobody" else 403
            assert status == (200 if name in may.split() else refused), (name, path)


def test_tasks_are_ones_own_and_an_operators(people: dict[str, Asker]) -> None:
    number = people["ann"].ask("GET", "/api/v2/me")[1]["number"]
    status, made = people["ann"].ask("POST", TASKS, SLEEPS)
    assert status == 201
    one = f"{TASKS}/{made['id']}"
    assert people["ben"].ask("GET", one)[1]["user"] == number
    status, answer = people["ben"].ask("POST", f"{one}/cancel")
    assert (status, answer["code"]) == (403, "forbidden")
    assert people["ben"].ask("POST", TASKS, {**SLEEPS, "user": number})[0] == 403
    assert people["ben"].ask("DELETE", f"/api/task?id={made['id']}")[1] == {"result": 4}
    status, answer = people["olga"].ask("POST", f"{one}/cancel", {"reason": "room"})
    assert (status, answer["state"]) == (200, "cancelled")
    seen = people["ann"].ask("GET", one)[1]
    assert (seen["cancellation"]["by"], seen["cancellation"]["reason"]) == ("olga", "room")
    status, answer = people["ben"].ask("POST", f"{one}/retry")
    assert status == 403
    status, again = people["ben"].ask("POST", f"{one}/rerun")
    assert status == 201
    ours = people["ben"].ask("GET", "/api/v2/me")[1]["number"]
    assert people["ben"].ask("GET", f"{TASKS}/{again['id']}")[1]["user"] == ours != number
    assert people["ben"].ask("POST", f"{TASKS}/{again['id']}/cancel")[0] == 200


def test_a_session_is_its_user_until_it_is_ended(people: dict[str, Asker]) -> None:
    nobody = people["nobody"]
    token = people["ann"].headers["Authorization"].partition(" ")[2]
    request = urllib.request.Request(
        f"{nobody.base}/api/v2/session",
        data=json.dumps({"token": token}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        cookie = response.headers["Set-Cookie"].partition(";")[0]
    assert token not in cookie
    with_it = {"Cookie": cookie}
    me = nobody.ask("GET", "/api/v2/me", headers=with_it)[1]
    assert (me["name"], me["known_by"]) == ("ann", "session")
    assert nobody.ask("DELETE", "/api/v2/session", headers=with_it)[0] == 204
    assert nobody.ask("GET", "/api/v2/me", headers=with_it)[0] == 401


def test_the_audit_log_has_all_of_it(people: dict[str, Asker]) -> None:
    root = people["root"]
    name = {"name": "passing", "role": "viewer"}
    assert root.ask("POST", "/api/v2/users", name)[0] == 201
    assert root.ask("PATCH", "/api/v2/users/passing", {"role": "operator"})[0] == 200
    assert root.ask("DELETE", "/api/v2/users/passing")[0] == 204
    items = root.ask("GET", "/api/v2/audit?user=root&limit=3")[1]["items"]
    assert [(each["act"], each["target"], each["status"]) for each in items] == [
        ("user.delete", "passing", 204),
        ("user.change", "passing", 200),
        ("user.create", "passing", 201),
    ]
    first = root.ask("GET", "/api/v2/audit?act=user.create&limit=500")[1]["items"][-2]
    assert (first["target"], first["user"], first["known_by"]) == ("root", None, "open")
    people["vic"].ask("DELETE", "/api/v2/users/root")
    [refused] = root.ask("GET", "/api/v2/audit?user=vic&act=user.delete")[1]["items"]
    assert refused["status"] == 403


@contextmanager
def another_gateway(up: Up, *options: str) -> Iterator[tuple[str, Path]]:
    """Its address, as soon as somebody answers there, and its log."""
    [port] = free_ports(1)
    argv = [
        *(sys.executable, "-m", "khala", "gateway", "--http-port", str(port), "--users-only"),
        *("--data-dir", str(up.data_dir), "--join", f"127.0.0.1:{up.rpc_port}", *options),
    ]
    log = up.data_dir.parent / f"gateway-{port}.log"
    with open(log, "wb") as errors:
        process = subprocess.Popen(argv, cwd=ROOT, start_new_session=True, stderr=errors)
    try:
        deadline = time.monotonic() + PATIENCE_S
        nobody = Asker(f"http://127.0.0.1:{port}", None)
        while True:
            try:
                nobody.until(200, "/readyz")
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield nobody.base, log
    finally:
        process.terminate()
        process.wait(STOP_S)


def test_a_revoked_token_ends_at_other_gateways_with_its_streams(
    up: Up, people: dict[str, Asker]
) -> None:
    _make(up, people, "tim", "viewer")
    with another_gateway(up) as (elsewhere, _):
        tim = Asker(elsewhere, None)
        tim.headers = people["tim"].headers
        tim.until(200, "/api/v2/me")
        lines = {**tim.headers, "Accept": "application/x-ndjson"}
        request = urllib.request.Request(f"{elsewhere}/api/v2/events", headers=lines)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as stream:
            assert json.loads(stream.readline())["event"] == "hello"
            [token] = people["root"].ask("GET", "/api/v2/tokens?user=tim")[1]["items"]
            assert people["root"].ask("DELETE", f"/api/v2/tokens/{token['id']}")[0] == 204
            assert people["tim"].ask("GET", "/api/v2/me")[0] == 401  # where it was revoked: at once
            tim.until(401, "/api/v2/me")
            last = [json.loads(line) for line in stream][-1]
            assert (last["event"], last["data"]["why"][:9]) == ("denied", "the token")


def test_requests_of_one_caller_are_limited(up: Up, people: dict[str, Asker]) -> None:
    limit = ("--requests-per-second", "0.5", "--request-burst", "3")
    with another_gateway(up, *limit) as (elsewhere, _):
        ann, ben, nobody = (Asker(elsewhere, None) for _ in range(3))
        ann.headers, ben.headers = people["ann"].headers, people["ben"].headers
        ann.until(200, "/api/v2/me")
        told = ann.until(429, "/api/v2/me")
        assert (told["code"], told["title"]) == ("rate_limited", "Rate limited")
        assert "limited to 0.5 a second, and to 3 at once" in told["detail"]
        # With nothing left, two seconds give one back, and the client knows to wait for it.
        with Khala(elsewhere, token=ann.headers["Authorization"].partition(" ")[2]) as khala:
            me = [khala.me().name for _ in range(3)]
        assert me == ["ann"] * 3
        assert ben.ask("GET", "/api/v2/me")[0] == 200
        nobody.until(429, "/api/v2/me")
        assert nobody.ask("GET", "/readyz")[0] == 200
        assert ben.ask("GET", "/api/v2/me")[0] == 200


def test_who_is_known_stays_known_while_no_judicator_answers(
    up: Up, people: dict[str, Asker]
) -> None:
    assert people["vic"].ask("GET", "/api/v2/me")[0] == 200
    watcher = _child(up.pid, "judicator")
    both = watcher, _child(watcher, "judicator-serve")
    for pid in both:  # first the one that would replace the other
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(5.5)  # until nothing that was said before is believed by itself
        status, _ = people["vic"].ask("GET", "/api/v2/roles")
        assert status == 200
        stranger = Asker(up.url, f"kh_pat_{'0' * 12}_{'0' * 64}")
        status, answer = stranger.ask("GET", "/api/v2/roles")
        assert (status, answer["code"]) == (503, "unavailable")
        assert people["nobody"].ask("GET", "/api/judicators")[0] in (200, 401)
    finally:
        for pid in reversed(both):
            os.kill(pid, signal.SIGCONT)
    people["vic"].until(200, "/api/v2/me")


# ---- tickets ----------------------------------------------------------------------------------


def ticket_of(asker: Asker) -> str:
    status, made = asker.ask("POST", "/api/v2/tickets")
    assert status == 201
    return str(made["ticket"])


def test_a_ticket_is_good_once_at_any_gateway(up: Up, people: dict[str, Asker]) -> None:
    with another_gateway(up, "--log-level", "debug") as (elsewhere, log):
        there, here = Asker(elsewhere, None), people["nobody"]
        shown = []
        for maker, user in ((people["vic"], there), (people["vic"], here)):
            ticket = ticket_of(maker)
            shown.append(ticket)
            address = f"/api/v2/me?ticket={ticket}"
            assert user.ask("POST", f"{TASKS}?ticket={ticket}", SLEEPS)[0] == 400
            assert user.ask("GET", address)[1]["name"] == "vic"
            for asker in (there, here):
                status, answer = asker.ask("GET", address)
                assert (status, answer["code"]) == (401, "unauthenticated")
                assert "used or has expired" in answer["detail"]
        # Of all who come with one at once, one is let in.
        ticket = ticket_of(people["vic"])
        address = f"/api/v2/me?ticket={ticket}"
        with ThreadPoolExecutor(8) as pool:
            statuses = list(
                pool.map(lambda n: (there, here)[n % 2].ask("GET", address)[0], range(8))
            )
        assert sorted(statuses) == [200, *[401] * 7]
        # What stands in an address is not in the log, whatever comes of it.
        token = people["vic"].headers["Authorization"].partition(" ")[2]
        assert there.ask("GET", f"/api/task/list?token={token}")[0] == 200
        assert there.ask("GET", f"{TASKS}?token={token}")[0] == 400
        assert there.ask("GET", f"/api/v2/nothing?ticket={ticket}")[0] in (401, 404)
        assert there.ask("GET", f"/nowhere?ticket={ticket}&token={token}")[0] == 404
        assert "gateway.serving" in log.read_text()
        written = log.read_text() + (up.data_dir.parent / "log").read_text()
        for secret in (*shown, ticket, token):
            assert secret not in written
            assert secret.rpartition("_")[2] not in written


def test_a_stream_of_a_ticket_ends_with_its_makers_token(up: Up, people: dict[str, Asker]) -> None:
    _make(up, people, "tom", "viewer")
    late = ticket_of(people["tom"])
    with another_gateway(up) as (elsewhere, _):
        address = f"{elsewhere}/api/v2/events?ticket={ticket_of(people['tom'])}"
        request = urllib.request.Request(address, headers={"Accept": "text/event-stream"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as stream:
            lines = iter(stream)
            assert any(line.startswith(b"event: hello") for line in lines)
            [token] = people["root"].ask("GET", "/api/v2/tokens?user=tom")[1]["items"]
            assert people["root"].ask("DELETE", f"/api/v2/tokens/{token['id']}")[0] == 204
            status, answer = Asker(elsewhere, None).ask("GET", f"/api/v2/me?ticket={late}")
            assert status == 401
            assert answer["detail"].endswith("has expired, or was revoked")
            assert b"event: denied\n" in list(lines)


def _child(parent: int, word: str) -> int:
    """Its process whose command line has the word."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if int(stat[1]) == parent and word in words:
            found.append(int(folder.name))
    assert len(found) == 1
    return found[0]
