"""Logs on the whole stack: heard while the task runs, the same afterwards, bounded always."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.compat.test_v2_tasks import post

PATIENCE_S = 60.0


def submit(stack: str, command: str, **stage: object) -> str:
    stage = {"command": command, "limits": {"wall_s": 60}, **stage}
    document = {"stages": {"execute": stage}}
    status, task, _ = post(stack, document, query="")
    assert status == 201, task
    found: str = task["id"]
    return found


def follow(stack: str, task: str, query: str = "", **headers: str) -> Iterator[dict[str, Any]]:
    """The records of a log until it ends."""
    request = urllib.request.Request(
        f"{stack}/api/v2/tasks/{task}/logs?follow=true{query}",
        headers={"Accept": "application/x-ndjson", **headers},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        for line in response:
            record = json.loads(line)
            if record["event"] != "alive":
                yield record


def read(stack: str, task: str, query: str) -> bytes:
    url = f"{stack}/api/v2/tasks/{task}/logs{query}"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
        found: bytes = response.read()
        return found


def test_a_task_is_heard_before_it_ends(stack: str) -> None:
    """It would go on for a minute; its reader ends it as soon as it has heard of it."""
    task = submit(stack, "echo to stdout; echo to stderr >&2; sleep 50; echo never")
    heard: dict[str, str] = {}
    for record in follow(stack, task):
        if record["event"] == "end":
            break
        heard[record["stream"]] = heard.get(record["stream"], "") + record["text"]
        if len(heard) == 2:
            request = urllib.request.Request(f"{stack}/api/v2/tasks/{task}/cancel", method="POST")
            urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    assert record["state"] == "cancelled"
    assert heard == {"stdout": "to stdout\n", "stderr": "to stderr\n"}
    # It has no result, and what it wrote is all there is to say why.
    assert read(stack, task, "?stage=execute&stream=stdout") == b"to stdout\n"


def test_each_byte_is_seen_while_the_task_still_runs(stack: str) -> None:
    """Seven single bytes with pauses between them, none of which ends a line, and then a minute in
    which nothing more comes: the last of them waits for no company and for no end."""
    task = submit(stack, "for n in 1 2 3 4 5 6 7; do printf $n; sleep 0.2; done; sleep 50")
    heard = ""
    for record in follow(stack, task, "&stream=stdout"):
        if record["event"] != "chunk":
            break
        heard += record["text"]
        if heard == "1234567":
            with urllib.request.urlopen(f"{stack}/api/v2/tasks/{task}", timeout=PATIENCE_S) as now:
                assert json.loads(now.read())["state"] == "running"
            request = urllib.request.Request(f"{stack}/api/v2/tasks/{task}/cancel", method="POST")
            urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    assert heard == "1234567"
    assert record["state"] == "cancelled"


def test_a_case_is_heard_before_it_ends_and_the_one_before_it_as_a_whole(stack: str) -> None:
    """The second one would go on for a minute; its reader ends it as soon as it has heard of it."""
    document = {
        "stages": {
            "execute": {
                "command": "read pause; echo pauses for $pause; sleep $pause; printf end >&2",
                "limits": {"wall_s": 60},
            }
        },
        "cases": [{"stdin": {"text": text}} for text in ("0.3\n", "50\n")],
    }
    _, task, _ = post(stack, document, query="")
    heard: dict[tuple[int, str], str] = {}
    for record in follow(stack, task["id"]):
        if record["event"] == "end":
            break
        source = (record["case"], record["stream"])
        heard[source] = heard.get(source, "") + record["text"]
        if record["case"] == 2:
            address = f"{stack}/api/v2/tasks/{task['id']}/cancel"
            request = urllib.request.Request(address, method="POST")
            urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    assert record["state"] == "cancelled"
    assert heard == {
        (1, "stdout"): "pauses for 0.3\n",
        (1, "stderr"): "end",
        (2, "stdout"): "pauses for 50\n",
    }
    # It has no result, and what its cases wrote is all that is left of it.
    assert read(stack, task["id"], "?case=1&stream=stderr") == b"end"


def test_what_cases_wrote_is_the_same_while_they_run_and_afterwards(stack: str) -> None:
    document = {
        "stages": {"execute": {"command": "cat; sleep 0.05; echo"}},
        "cases": [{"stdin": {"text": f"{n}" * n}} for n in range(1, 10)],
    }
    _, task, _ = post(stack, document, query="")
    live = "".join(r["text"] for r in follow(stack, task["id"]) if r["event"] == "chunk")
    assert live == "".join(f"{n}" * n + "\n" for n in range(1, 10))
    assert read(stack, task["id"], "").decode() == live
    assert read(stack, task["id"], "?case=4&stream=stdout") == b"4444\n"


def test_stages_come_one_after_the_other(stack: str) -> None:
    document = {
        "stages": {
            "compile": {"command": "echo compiled; echo warned >&2"},
            "execute": {"command": "echo ran; sleep 0.5; echo done"},
        }
    }
    _, task, _ = post(stack, document, query="")
    records = list(follow(stack, task["id"]))
    stages = [record["stage"] for record in records[:-1]]
    assert stages == sorted(stages)
    assert records[-1]["state"] == "succeeded"
    text = "".join(r["text"] for r in records[:-1] if r["stream"] == "stdout")
    assert text == "compiled\nran\ndone\n"


def test_every_byte_is_there_once_however_it_is_read(stack: str) -> None:
    """Bytes of all kinds, heard in the middle and read again at the end, by two readers of which
    one breaks off after each record and comes back."""
    command = "for n in $(seq 40); do head -c 5000 /dev/urandom; sleep 0.02; done"
    task = submit(stack, command)
    steady = b""
    for record in follow(stack, task, "&stream=stdout"):
        if record["event"] == "chunk":
            steady += base64.b64decode(record["b64"])
    broken, after = b"", ""
    while True:
        record = next(follow(stack, task, f"&stream=stdout&limit=7000{after}"))
        if record["event"] == "end":
            break
        broken += base64.b64decode(record["b64"])
        after = f"&after={record['id']}"
    whole = read(stack, task, "?stage=execute&stream=stdout")
    assert len(whole) == 200_000
    assert steady == whole
    assert broken == whole


def test_a_flood_is_bounded_and_its_gap_is_told(stack: str) -> None:
    command = "yes 0123456789abcde | head -c 20M; echo last >&2"
    task = submit(stack, command, limits={"output": "1MiB"}, on_output_limit="truncate")
    kept = gap = 0
    for record in follow(stack, task):
        if record["event"] == "chunk" and record["stream"] == "stdout":
            kept += len(record["text"])
        if record["event"] == "gap":
            gap += record["to"] - record["from"]
    assert kept + gap == 20 << 20
    assert kept <= (1 << 20) * 3 // 2


def test_readers_that_stand_still_hold_up_nobody(stack: str) -> None:
    """Fifty of them ask for a megabyte each and take nothing of it."""
    task = submit(stack, "seq 1 200000; sleep 1.5; echo the end")
    address = urlsplit(stack)
    still = []
    try:
        for _ in range(50):
            connection = http.client.HTTPConnection(address.netloc, timeout=PATIENCE_S)
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.request("GET", f"/api/v2/tasks/{task}/logs?follow=true")
            still.append(connection)
        text = "".join(r["text"] for r in follow(stack, task) if r["event"] == "chunk")
        assert text == "".join(f"{n}\n" for n in range(1, 200_001)) + "the end\n"
        # And one of them, when it reads at last, has missed nothing.
        assert still[0].getresponse().read().decode() == text
    finally:
        for connection in still:
            connection.close()
