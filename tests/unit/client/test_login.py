"""A token of one's own is kept where only its owner reads it, and goes nowhere else."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from khala.cli import cli
from khala.model.errors import Rejected
from roles.client.connection import connection_of
from roles.client.contexts import Context, Contexts

SECRET = "kh_pat_" + "0123456789ab" + "_" + "f" * 64
TICKET = "kh_tkt_" + "0123456789ab" + "_" + "e" * 64
ANN = {
    "name": "ann",
    "number": 7,
    "role": "submitter",
    "known_by": "token",
    "token": "0123456789ab",
    "expires_at": "2027-02-26T00:00:00Z",
    "has_users": True,
}
NOBODY = {**ANN, "name": None, "number": None, "role": "admin", "token": None, "expires_at": None}


class Asked(BaseHTTPRequestHandler):
    """A gateway that knows one token, or is open."""

    open = False

    def do_GET(self) -> None:
        if self.open:
            self._answer(200, {**NOBODY, "known_by": "open", "has_users": False})
        elif self.headers["Authorization"] == f"Bearer {SECRET}":
            self._answer(200, ANN)
        else:
            detail = "this token is unknown, expired or revoked"
            problem = {"title": "", "status": 401, "code": "unauthenticated", "detail": detail}
            self._answer(401, problem)

    def do_POST(self) -> None:
        if self.path == "/api/v2/tickets" and self.headers["Authorization"] == f"Bearer {SECRET}":
            self._answer(201, {"ticket": TICKET, "expires_at": "2026-11-28T12:00:00Z"})
        else:
            self._answer(404, {"title": "", "status": 404, "code": "not_found", "detail": ""})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KHALA_URL", "KHALA_TOKEN_FILE", "KHALA_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Asked, "open", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def khala(*words: str, given: str = "") -> Result:
    return CliRunner().invoke(cli, list(words), input=given)


def test_a_token_is_kept_and_used(home: Path, url: str) -> None:
    done = khala("login", "--url", url, "--context", "lab", given=SECRET + "\n")
    assert done.exit_code == 0, done.output
    assert f"ann (user 7), submitter at {url}; context lab is in use" in done.stderr
    kept = home / "khala" / "tokens" / "lab"
    assert kept.read_text().strip() == SECRET
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert SECRET not in (home / "khala" / "client.toml").read_text() + done.output
    used = connection_of(None, None, None)
    assert (used.url, used.token) == (url, SECRET)
    shown = khala("whoami").output.splitlines()
    assert shown[0] == f"ann (user 7), submitter at {url}"
    assert shown[1].startswith("token 0123456789ab, until 2027-02-2")
    assert khala("whoami", "-o", "name").output == "ann\n"
    assert json.loads(khala("whoami", "-o", "json").output)[0]["number"] == 7


def test_one_that_the_gateway_does_not_take_changes_nothing(home: Path, url: str) -> None:
    done = khala("login", "--url", url, given="kh_pat_wrong_wrong_wrong\n")
    assert done.exit_code == 4
    assert "unknown, expired or revoked" in done.stderr
    assert not (home / "khala").exists()


@pytest.mark.parametrize("given", ["", "short\n", "é" * 30 + "\n", "x" * 2000 + "\n"])
def test_what_is_no_token_is_not_sent(given: str) -> None:
    done = khala("login", "--url", "http://127.0.0.1:1", given=given)
    assert isinstance(done.exception, Rejected)
    assert "16 to 1024 ASCII characters" in done.exception.message


def test_an_open_gateway_has_nothing_to_log_in_to(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Asked, "open", True)
    done = khala("login", "--url", url, given=SECRET + "\n")
    assert done.exit_code == 2
    assert "asks nobody who they are" in done.stderr
    assert not (home / "khala").exists()
    assert khala("whoami", "--url", url).output.startswith("anybody, admin")


def test_a_context_is_named_after_its_host_and_found_again(home: Path, url: str) -> None:
    assert khala("login", "--url", url, given=SECRET).exit_code == 0
    assert list(Contexts.read().contexts) == ["127.0.0.1"]
    assert khala("login", "--url", url + "/", given=SECRET).exit_code == 0
    assert khala("login", given=SECRET).exit_code == 0
    assert list(Contexts.read().contexts) == ["127.0.0.1"]
    Contexts.read().with_one("lab", Context(url="http://lab:7000")).write()
    done = khala("login", "--url", url, "--context", "lab", given=SECRET)
    assert isinstance(done.exception, Rejected)
    assert "context lab is of http://lab:7000" in done.exception.message


def test_what_logout_takes_away(home: Path, url: str) -> None:
    assert khala("login", "--url", url, "--context", "lab", given=SECRET).exit_code == 0
    done = khala("logout")
    assert done.exit_code == 0
    assert f"revoked: {url}/tokens" in done.stderr
    assert not (home / "khala" / "tokens" / "lab").exists()
    assert Contexts.read().named("lab").token_file is None
    refused = khala("whoami")
    assert refused.exit_code == 4
    assert "khala.pex login" in refused.stderr
    assert "has no token" in khala("logout").stderr


def test_a_file_of_the_users_own_stays(home: Path) -> None:
    own = home / "own"
    own.write_text(SECRET)
    Contexts.read().with_one("lab", Context(url="http://lab", token_file=str(own))).write()
    assert khala("logout", "--context", "lab").exit_code == 0
    assert own.exists()
    assert Contexts.read().named("lab").token_file is None


def test_a_ticket_alone_goes_to_stdout(home: Path, url: str) -> None:
    own = home / "own"
    own.write_text(SECRET)
    own.chmod(0o600)
    named = ("--url", url, "--token-file", str(own))
    done = khala("ticket", *named)
    assert done.stdout == TICKET + "\n"
    assert done.stderr.startswith("for one request that only reads, until 2026-11-28")
    [shown] = json.loads(khala("ticket", *named, "-o", "json").stdout)
    assert shown == {"ticket": TICKET, "expires_at": "2026-11-28T12:00:00Z"}


def test_an_older_gateway_has_no_tickets(url: str) -> None:
    done = khala("ticket", "--url", url)
    assert done.exit_code == 2
    assert "this gateway is of a version without tickets" in done.stderr
