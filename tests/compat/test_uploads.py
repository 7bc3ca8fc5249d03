"""Large files on a running Khala: bit by bit by hand, and by the command line as a whole."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.compat.conftest import ROOT
from tests.compat.test_v2_tasks import post


def call(
    method: str, url: str, data: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any], str]:
    """Status, document, and the offset that the answer tells."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(url, data=data, method=method, headers=named)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        body = response.read()
        told = response.headers.get("Upload-Offset", "")
        return response.status, json.loads(body) if body else {}, told


def test_a_file_in_three_requests_is_standard_input(stack: str) -> None:
    data = b"".join(b"%d\n" % n for n in range(1_200_000))
    given = json.dumps({"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}).encode()
    status, upload, _ = call(
        "POST", f"{stack}/api/v2/uploads", given, Content_Type="application/json"
    )
    assert status == 201
    url = f"{stack}/api/v2/uploads/{upload['id']}"
    for first, last in ((0, 100), (100, 6_000_000)):
        status, _, told = call("PATCH", url, data[first:last], Upload_Offset=str(first))
        assert (status, told) == (204, str(last))
    status, problem, told = call("PATCH", url, b"x", Upload_Offset="100")
    assert (status, problem["code"], told) == (409, "offset_differs", "6000000")
    assert call("HEAD", url)[2] == "6000000"
    status, made, _ = call("PATCH", url, data[6_000_000:], Upload_Offset="6000000")
    assert (status, made["size"]) == (201, len(data))
    spec = {"stdin": {"blob": made["blob"]}, "stages": {"execute": {"command": "sha256sum"}}}
    status, task, _ = post(stack, spec)
    assert status == 200
    written = task["stages"]["execute"]["result"]["stdout"]["text"]
    assert written.split()[0] == hashlib.sha256(data).hexdigest()
    assert call("DELETE", url)[0] == 204
    assert call("GET", url)[0] == 404


def run_khala(stack: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "khala", *arguments, "--url", stack],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_a_file_goes_on_where_an_earlier_command_was_interrupted(
    stack: str, tmp_path: Path
) -> None:
    path, data = tmp_path / "input", os.urandom(10 << 20)
    path.write_bytes(data)
    given = json.dumps({"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}).encode()
    begun = [
        call("POST", f"{stack}/api/v2/uploads", given, Content_Type="application/json")[1]["id"]
        for _ in range(2)
    ]
    url = f"{stack}/api/v2/uploads/{begun[1]}"
    assert call("PATCH", url, data[:6_000_000], Upload_Offset="0")[0] == 204
    listed = run_khala(stack, "blob", "uploads", "-o", "name").stdout.split()
    assert set(begun) <= set(listed)
    sent = run_khala(stack, "blob", "put", str(path))
    assert sent.stdout.startswith("sha256:"), sent.stderr
    assert call("GET", url)[1]["blob"] == sent.stdout.split()[0]
    assert run_khala(stack, "blob", "drop", begun[0]).stdout == f"{begun[0]} dropped\n"
    assert not set(begun) & set(run_khala(stack, "blob", "uploads", "-o", "name").stdout.split())


def test_the_command_line_takes_what_is_larger_than_a_request(stack: str, tmp_path: Path) -> None:
    """Than `--max-body`, which is 64 MiB: it goes ahead."""
    path = tmp_path / "input"
    with open(path, "wb") as file:
        for _ in range(70):
            file.write(os.urandom(1 << 20))
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    done = run_khala(stack, "run", "--stdin", str(path), "sha256sum")
    assert done.stdout == f"{digest}  -\n", done.stderr
    sent = run_khala(stack, "blob", "put", str(path))
    assert sent.stdout == f"sha256:{digest}  {path}\n", sent.stderr
