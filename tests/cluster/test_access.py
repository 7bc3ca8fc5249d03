"""A cluster gets its first user, and from then on knows everybody; by commands on its host."""

from __future__ import annotations

import json
import urllib.request
from functools import partial
from typing import Any

from tests.cluster.harness import Khala, ask, wait_until
from tests.cluster.test_drain import admin


def call(khala: Khala, path: str, token: str | None = None) -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return ask(urllib.request.Request(f"{khala.url}{path}", headers=headers))


def said(khala: Khala, *words: str) -> str:
    """Stdout of a command that succeeds."""
    done = admin(khala, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refuses(khala: Khala, token: str) -> bool:
    return call(khala, "/api/v2/tasks", token)[0] == 401


def test_users_come_are_shut_out_and_come_back(own: Khala) -> None:
    tasks = "/api/v2/tasks"
    assert call(own, tasks)[0] == 200
    refused = admin(own, "user", "create", "ann", "--role", "viewer")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the first user must be an administrator" in refused.stderr

    root = said(own, "user", "create", "root", "--role", "admin").strip()
    assert root.startswith("kh_pat_")
    assert " " not in root
    # What a gateway knew before is believed for seconds.
    wait_until(lambda: call(own, tasks)[0] == 401, 60, "nobody is let in without a token")
    assert call(own, tasks, root)[0] == 200
    ann = said(own, "user", "create", "ann", "--role", "submitter", "--number", "7").strip()
    wait_until(lambda: call(own, tasks, ann)[0] == 200, 60, "ann is let in")
    lines = [line.split()[:4] for line in said(own, "user", "ls").splitlines()]
    assert lines[1:] == [["ann", "7", "submitter", "yes"], ["root", "1", "admin", "yes"]]

    last = admin(own, "user", "set", "root", "--disable")
    assert last.returncode == 2
    assert "root is the last administrator" in last.stderr
    said(own, "user", "set", "ann", "--disable")
    wait_until(lambda: call(own, tasks, ann)[0] == 401, 60, "ann is shut out")
    said(own, "user", "set", "ann", "--enable")
    wait_until(lambda: call(own, tasks, ann)[0] == 200, 60, "ann is let in again")

    # Every token is lost: the host makes another one.
    for name, token in (("root", root), ("ann", ann)):
        said(own, "pat", "revoke", name, token.split("_")[2])
        wait_until(partial(refuses, own, token), 60, "it is over")
    assert len(said(own, "pat", "ls").splitlines()) == 1
    again = said(own, "pat", "create", "root", "--name", "again", "--expires", "1h").strip()
    wait_until(lambda: call(own, tasks, again)[0] == 200, 60, "root is back")
    (_, row) = said(own, "pat", "ls", "root").splitlines()
    assert row.split()[1:4] == ["root", "again", "admin"]
    said(own, "user", "rm", "ann")

    log = [json.loads(line) for line in said(own, "audit", "-o", "jsonl").splitlines()]
    told = [(each["act"], each["target"], each["status"]) for each in reversed(log)]
    assert told == [
        ("user.create", "ann", 409),
        ("user.create", "root", 200),
        ("user.create", "ann", 200),
        ("user.change", "root", 409),
        ("user.change", "ann", 200),
        ("user.change", "ann", 200),
        ("token.delete", root.split("_")[2], 200),
        ("token.delete", ann.split("_")[2], 200),
        ("token.create", "root", 200),
        ("user.delete", "ann", 200),
    ]
    assert {each["known_by"] for each in log} == {"host"}
    assert said(own, "audit", "--act", "user.delete").count("user.delete") == 1
    assert "kh_pat" not in json.dumps(log)
    everything = "".join(path.read_text(errors="replace") for path in own.data_dir.rglob("*.log"))
    assert again.split("_")[3] not in everything
