"""KV2's flags: each row of its documents, for each of its roles."""

from __future__ import annotations

import http.server
import os
import socketserver
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from khala.config import kv2
from khala.config.host import container_name, interface_address
from khala.config.kv2 import Translation, translate
from khala.config.load import Given, load
from khala.config.settings import Settings
from khala.config.table import BY_KEY
from khala.model.errors import Rejected

J, E, G = "judicator", "executor", "gateway"

#: As KV2 documents them: flag, roles, value (None: a switch), and what it sets now, as
#: {role: (key, value)}; a role that is missing there takes the flag without effect.
ROWS: list[tuple[str, str, str | None, dict[str, tuple[str, object]]]] = [
    ("--docker-sock", "JEG", "unix:///var/run/docker.sock", {}),
    ("--retry-times", "JEG", "3", {}),
    ("--retry-interval", "JEG", "5", {}),
    ("--boot-check-interval", "JEG", "30", {}),
    ("--boot-print-log", "JEG", None, {}),
    ("--etcd-exe", "JEG", "./etcd", {J: ("etcd.bin", os.path.abspath("etcd"))}),
    (
        "--etcd-name",
        "JEG",
        "etcd1",
        {J: ("name", "etcd1"), E: ("name", "etcd1"), G: ("name", "etcd1")},
    ),
    ("--etcd-proxy", "JEG", "on", {}),
    ("--etcd-strict-reconfig", "JEG", None, {}),
    ("--etcd-listen-address", "J", "127.0.0.2", {J: ("bind", "127.0.0.2")}),
    ("--etcd-listen-peer-port", "JEG", "2100", {J: ("etcd.peer_port", 2100)}),
    ("--etcd-listen-client-port", "JEG", "2101", {J: ("etcd.client_port", 2101)}),
    ("--etcd-advertise-address", "J", "10.0.0.1", {J: ("advertise", "10.0.0.1")}),
    ("--etcd-advertise-peer-port", "JEG", "DOCKER", {}),
    ("--etcd-advertise-client-port", "JEG", "DOCKER", {}),
    ("--etcd-cluster-init-member", "J", "etcd1=http://localhost:2000", {}),
    ("--etcd-cluster-init-independent", "J", None, {}),
    ("--etcd-cluster-service-port", "JEG", "2001", {}),
    (
        "--etcd-cluster-join-member-client",
        "JEG",
        "http://127.0.0.5:2001",
        dict.fromkeys((J, E, G), ("join", ("127.0.0.5:4000",))),
    ),
    (
        "--etcd-cluster-service",
        "JEG",
        "judicator",
        dict.fromkeys((J, E, G), ("join", ("judicator:4000",))),
    ),
    ("--etcd-print-log", "JEG", None, {}),
    ("--mongodb-exe", "J", "/opt/mongod", {J: ("mongodb.bin", "/opt/mongod")}),
    ("--mongodb-name", "J", "mongodb1", {}),
    ("--mongodb-listen-address", "J", "127.0.0.2", {J: ("bind", "127.0.0.2")}),
    ("--mongodb-listen-port", "J", "3100", {J: ("mongodb.port", 3100)}),
    ("--mongodb-advertise-address", "J", "10.0.0.1", {J: ("advertise", "10.0.0.1")}),
    ("--mongodb-advertise-port", "J", "DOCKER", {}),
    ("--mongodb-print-log", "J", None, {}),
    ("--main-name", "JE", "judicator1", {J: ("name", "judicator1"), E: ("name", "judicator1")}),
    ("--main-listen-address", "J", "127.0.0.2", {J: ("bind", "127.0.0.2")}),
    ("--main-listen-port", "J", "4100", {J: ("rpc.port", 4100)}),
    ("--main-advertise-address", "J", "10.0.0.1", {J: ("advertise", "10.0.0.1")}),
    ("--main-advertise-port", "J", "DOCKER", {}),
    ("--main-task-vacant", "E", "3", {E: ("executor.slots", 3)}),
    ("--main-report-interval", "E", "5", {}),
    ("--main-task-user-group", "E", "user:group", {}),
    ("--main-print-log", "JE", None, {}),
    ("--uwsgi-host", "G", "127.0.0.2", {G: ("gateway.bind", "127.0.0.2")}),
    ("--uwsgi-port", "G", "7100", {G: ("gateway.port", 7100)}),
    ("--uwsgi-processes", "G", "4", {}),
    ("--uwsgi-threads", "G", "2", {}),
    ("--uwsgi-print-log", "G", None, {}),
]
ROLE_OF = {"J": J, "E": E, "G": G}
CASES = [
    pytest.param(ROLE_OF[letter], flag, value, sets.get(ROLE_OF[letter]), id=f"{letter}{flag}")
    for flag, letters, value, sets in ROWS
    for letter in letters
]
#: Flags that a role of KV2 takes, but whose wish cannot be fulfilled.
REFUSED = [
    (J, "--etcd-cluster-init-discovery", "http://d/1", "--join HOST:PORT"),
    (J, "--etcd-cluster-init-member", "a=http://a:2000,b=http://b:2000", "first judicator"),
    (E, "--etcd-cluster-init-discovery", "http://d/1", "--join HOST:PORT"),
    (G, "--etcd-cluster-init-discovery", "http://d/1", "--join HOST:PORT"),
    (E, "--etcd-cluster-join-member-client", "http://:2001", "a URL such as"),
    (E, "--etcd-cluster-join-member-client", "http://[::1", "a URL such as"),
]


def translated(
    role: str,
    given: Mapping[str, str],
    flags: Mapping[str, Given] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Settings, Translation]:
    translation = translate(role, given, flags or {}, environment or {})
    settings, _ = load(role, translation.flags, {}, None)
    return settings, translation


def value_of(settings: Settings, key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize(("role", "flag", "value", "sets"), CASES)
def test_a_flag_is_taken_and_becomes_what_it_means(
    role: str, flag: str, value: str | None, sets: tuple[str, object] | None
) -> None:
    settings, translation = translated(role, {flag: "True" if value is None else value})
    assert len(translation.notes) == 1
    assert translation.notes[0].startswith(f"{flag} is KV2's")
    if sets is None:
        assert translation.flags == {}
    else:
        key, expected = sets
        assert list(translation.flags) == [key]
        assert value_of(settings, key) == expected
        assert BY_KEY[key].flag in translation.notes[0]


def test_these_are_all_flags_and_all_switches() -> None:
    """The table of the program and the one above, which was copied from KV2's documents."""
    ours = {(role, each.flag, each.switch) for each in kv2.FLAGS for role in each.roles}
    above = {
        (ROLE_OF[letter], flag, value is None)
        for flag, letters, value, _ in ROWS
        for letter in letters
    }
    assert ours == above | {(role, flag, False) for role, flag, _, _ in REFUSED}


@pytest.mark.parametrize(("role", "flag", "value", "word"), REFUSED)
def test_what_cannot_be_done_is_refused(role: str, flag: str, value: str, word: str) -> None:
    with pytest.raises(Rejected, match=f"^{flag}: ") as caught:
        translated(role, {flag: value})
    assert word in caught.value.message


def test_the_line_of_the_first_judicator_in_the_readme_of_kv2() -> None:
    given = {
        "--docker-sock": "unix:///var/run/docker.sock",
        "--boot-print-log": "True",
        "--etcd-cluster-init-independent": "True",
        "--etcd-advertise-address": "10.0.0.1",
        "--main-advertise-port": "DOCKER",
    }
    settings, translation = translated(J, given)
    advertised = {"advertise": Given(value="10.0.0.1", flag="--advertise")}
    assert settings == load(J, advertised, {}, None)[0]
    assert translation.founds
    assert len(translation.notes) == len(given)


def test_of_several_cluster_flags_the_last_in_the_order_of_kv2_counts() -> None:
    given = {
        "--etcd-cluster-service": "judicator",
        "--etcd-cluster-join-member-client": "http://h:2001",
        "--etcd-cluster-init-discovery": "http://d/1",
    }
    settings, translation = translated(E, given)
    assert settings.join == ("judicator:4000",)
    assert sum("overrides it" in note for note in translation.notes) == 2
    del given["--etcd-cluster-service"]
    assert translated(E, given)[0].join == ("h:4000",)
    alone = {
        "--etcd-cluster-init-independent": "True",
        "--etcd-cluster-init-discovery": "http://d/1",
    }
    assert translated(J, alone)[1].founds
    assert not translated(E, given)[1].founds
    joins = alone | {"--etcd-cluster-join-member-client": "http://h:2001"}
    settings, translation = translated(J, joins)
    assert (settings.join, translation.founds) == (("h:4000",), False)


@pytest.mark.parametrize(
    ("url", "join"),
    [
        ("http://h:2001", ("h:4100",)),
        ("https://h", ("h:4100",)),
        ("h:2001", ("h:4100",)),
        ("http://[::1]:2001", ("[::1]:4100",)),
        ("http://a:1,http://b:2", ("a:4100", "b:4100")),
    ],
)
def test_an_etcd_url_becomes_the_rpc_port_of_its_host(url: str, join: tuple[str, ...]) -> None:
    rpc = {"rpc.port": Given(value="4100", flag="--rpc-port")}
    settings, _ = translated(G, {"--etcd-cluster-join-member-client": url}, rpc)
    assert settings.join == join


def test_a_node_has_one_name_and_the_main_one_wins() -> None:
    settings, _ = translated(J, {"--main-name": "m", "--etcd-name": "e", "--mongodb-name": "d"})
    assert settings.name == "m"


def test_contradictions_are_refused() -> None:
    new = {"executor.slots": Given(value="2", flag="--slots")}
    with pytest.raises(Rejected, match=r"--main-task-vacant: --slots sets the same"):
        translated(E, {"--main-task-vacant": "2"}, new)
    addresses = {"--etcd-listen-address": "127.0.0.2", "--main-listen-address": "127.0.0.3"}
    with pytest.raises(Rejected, match="--main-listen-address: --etcd-listen-address sets"):
        translated(J, addresses)
    addresses["--main-listen-address"] = "127.0.0.2"
    assert translated(J, addresses)[0].bind == "127.0.0.2"


def test_a_refused_value_names_the_flag_that_was_given() -> None:
    with pytest.raises(Rejected, match=r"^--main-task-vacant: from 1 to 1024; 0 was given"):
        translated(E, {"--main-task-vacant": "0"})
    with pytest.raises(Rejected, match=r"^--main-listen-address: 0\.0\.0\.0 is every address"):
        translated(J, {"--main-listen-address": "ALL"})
    with pytest.raises(Rejected, match=r"^--uwsgi-host: 0\.0\.0\.0 can be reached"):
        translated(G, {"--uwsgi-host": "ALL"})


def test_env_is_the_variable_name() -> None:
    assert translated(E, {"--main-name": "ENV"}, None, {"NAME": "e-1"})[0].name == "e-1"
    with pytest.raises(Rejected, match="--main-name: ENV stands for the variable NAME"):
        translated(E, {"--main-name": "ENV"})


def test_an_interface_in_capitals_is_its_address() -> None:
    assert translated(G, {"--uwsgi-host": "LO"})[0].gateway.bind == "127.0.0.1"
    assert interface_address("lo", "--uwsgi-host") == "127.0.0.1"
    with pytest.raises(Rejected, match=r"--uwsgi-host: no interface eth77 .* this host has .*lo"):
        translated(G, {"--uwsgi-host": "ETH77"})


def test_a_program_without_a_folder_is_searched_on_the_path(tmp_path: Path) -> None:
    program = tmp_path / "etcd"
    program.touch(mode=0o755)
    settings, _ = translated(J, {"--etcd-exe": "etcd"}, None, {"PATH": str(tmp_path)})
    assert settings.etcd.bin == str(program)


class _Docker(http.server.BaseHTTPRequestHandler):
    """The one answer of a Docker engine that is asked for."""

    def do_GET(self) -> None:
        known = self.path == f"/containers/{os.uname().nodename}/json"
        status, body = self.server.answer if known else (404, b"{}")  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


class _Engine(socketserver.UnixStreamServer):
    answer = (200, b'{"Name": "/gateway.1", "Id": "f00", "State": {}}')


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[_Engine]:
    with _Engine(str(tmp_path / "docker.sock"), _Docker) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_docker_is_the_name_of_this_container(engine: _Engine) -> None:
    path = str(engine.server_address)
    given = {"--uwsgi-host": "DOCKER", "--docker-sock": f"unix://{path}"}
    token = {"gateway.token_file": Given(value="/t", flag="--token-file")}
    assert translated(G, given, token)[0].gateway.bind == "gateway.1"
    assert container_name(path) == "gateway.1"


def test_docker_that_does_not_know_is_told(engine: _Engine, tmp_path: Path) -> None:
    path = str(engine.server_address)
    engine.answer = (404, b'{"message": "No such container"}')
    with pytest.raises(Rejected, match=r"--docker-sock: Docker has no container .*status 404"):
        container_name(path)
    engine.answer = (200, b"[]")
    with pytest.raises(Rejected, match="is not Docker's"):
        container_name(path)
    with pytest.raises(Rejected, match=r"does not answer: .*No such file"):
        container_name(str(tmp_path / "none.sock"))
    with pytest.raises(Rejected, match="only unix:// sockets"):
        container_name("tcp://127.0.0.1:2375")
    with pytest.raises(Rejected, match="--uwsgi-host: DOCKER needs --docker-sock"):
        translated(G, {"--uwsgi-host": "DOCKER"})
