"""A cluster whose nodes joined by token: what they may do, and what strangers may not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from khala.model.retention import Retention
from khala.model.spec import Part
from khala.net.ports import free_ports
from khala.pki.authority import Authority, Subject, make_key, make_request
from khala.protocol.joining import MakeToken
from khala.protocol.retention import Forget
from tests.cluster.harness import Khala, wait_until
from tests.cluster.nodes import Cluster, Node, command, gateway_of, growing, stranger, wait_ready

JUDICATOR = "127.0.0.21"
#: Short, so that every certificate is renewed while these tests run.
LIFE_S = 30


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("joining")
    with growing(folder, "--certificate-life", f"{LIFE_S}s") as cluster:
        cluster.judicator("j", JUDICATOR)
        cluster.join("e", "executor", "--slots", "2")
        yield cluster


@pytest.fixture(scope="module")
def gateway(cluster: Cluster) -> Khala:
    (port,) = free_ports(1)
    node = cluster.join("g", "gateway", "--http-port", str(port))
    client = gateway_of(node, port)
    wait_ready(client, node)
    return client


def identity(node: Node) -> Path:
    return node.data_dir / "tls" / node.role


def showing(node: Node) -> ssl.SSLContext:
    """With this node's certificate."""
    context = stranger()
    context.load_cert_chain(identity(node) / "node.pem")
    return context


def test_a_task_runs(gateway: Khala) -> None:
    task = gateway.submit(execute_command="echo joined")
    assert gateway.wait_done(task)["result"]["execute_output"] == "joined\n"


def test_a_task_has_the_network_of_an_executor_that_offers_it(
    cluster: Cluster, gateway: Khala, tmp_path: Path
) -> None:
    """And of no other: one that does not offer it has slots to spare all the time."""

    def post(network: str, command: str) -> tuple[int, dict[str, Any]]:
        body = {"network": network, "stages": {"execute": {"command": command}}}
        return gateway.send("POST", "/api/v2/tasks?wait=60", body)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reach = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached || echo alone"
        status, problem = post("full", reach)
        assert (status, problem["code"]) == (422, "no_network_offered"), problem
        options = ("--allow-network", "full", "--slots", "1", "--task-uid-base", "1900200000")
        cluster.join("open", "executor", *options)
        wait_until(
            lambda: "tasks may ask for its network" in cluster.run("status").stdout, 60, "an offer"
        )
        for network, said, where in (
            ("full", "reached\n", {"open"}),
            ("loopback", "alone\n", {"open", "e"}),
            ("none", "alone\n", {"open", "e"}),
        ):
            status, task = post(network, reach)
            assert (status, task["state"], task["network"]) == (200, "succeeded", network), task
            assert task["stages"]["execute"]["result"]["stdout"]["text"] == said
            assert task["executor"] in where
    cluster.nodes.pop("open").stop()
    body = {"network": "full", "stages": {"execute": {"command": "true"}}}
    status, waiting = gateway.send("POST", "/api/v2/tasks", body)
    assert status == 201, waiting
    path = f"/api/v2/tasks/{waiting['id']}"
    wait_until(
        lambda: gateway.call("GET", path)[1]["pending"]["code"] == "no_network",
        60,
        "it waits for an offer",
    )
    assert gateway.call("POST", path + "/cancel")[0] == 200


def listening(node: Node) -> set[tuple[str, int]]:
    """Every TCP address that a process of this node listens on."""
    pids = {str(pid) for pid in node.pids()}
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    found: set[tuple[str, int]] = set()
    for line in shown.splitlines():
        if pids & set(re.findall(r"pid=(\d+)", line)):
            host, _, port = line.split()[3].rpartition(":")
            found.add((host, int(port)))
    return found


def answer(address: tuple[str, int], context: ssl.SSLContext | None) -> bytes:
    """What is said to a request of HTTP and then to one of MongoDB; empty if nothing."""
    said = b""
    with contextlib.suppress(OSError), socket.create_connection(address, 5) as raw:
        raw.settimeout(5)
        with context.wrap_socket(raw) if context else raw as connection:
            connection.sendall(b"GET /rpc/v1/cluster HTTP/1.0\r\n\r\n")
            while piece := connection.recv(4096):
                said += piece
    return said


def test_nothing_answers_without_a_certificate(cluster: Cluster) -> None:
    ports = cluster.ports
    node = cluster.nodes["j"]
    expected = {(JUDICATOR, port) for port in (ports.peer, ports.client, ports.mongodb, ports.rpc)}
    assert listening(node) == expected
    for address in expected:
        # Two of the servers say in plain HTTP that they speak something else, and no more.
        plain = answer(address, None)
        refusals = (b"Client sent an HTTP request to an HTTPS server", b"MongoDB over HTTP on the")
        assert not plain or any(refusal in plain for refusal in refusals), plain
        said = answer(address, stranger())
        if address[1] == ports.rpc:
            assert said.startswith(b"HTTP/1.1 401 "), said
            assert b"no certificate of this cluster" in said
        else:
            assert said == b"", said


def test_a_certificate_of_another_authority_is_none(cluster: Cluster, tmp_path: Path) -> None:

    key = make_key()
    subject = Subject(cluster="c", name="j", role="judicator", hosts=(JUDICATOR,))
    signed = Authority.create("other").sign(make_request(key), subject, timedelta(days=1))
    (tmp_path / "node.pem").write_bytes(key + signed.certificate)
    context = stranger()
    context.load_cert_chain(tmp_path / "node.pem")
    ports = cluster.ports
    for port in (ports.peer, ports.client, ports.mongodb, ports.rpc):
        assert answer((JUDICATOR, port), context) == b""


def test_an_executor_has_no_way_into_the_databases(cluster: Cluster) -> None:
    ports, node = cluster.ports, cluster.nodes["e"]
    for port in (ports.peer, ports.client):
        assert answer((JUDICATOR, port), showing(node)) == b""
    folder = identity(node)
    client: MongoClient[dict[str, object]] = MongoClient(
        f"{JUDICATOR}:{ports.mongodb}",
        directConnection=True,
        tls=True,
        tlsCAFile=str(folder / "ca.crt"),
        tlsCertificateKeyFile=str(folder / "node.pem"),
        serverSelectionTimeoutMS=5000,
    )
    with client, pytest.raises(OperationFailure, match=r"not authorized|requires authentication"):
        client["khala"]["tasks"].find_one()
    assert sorted(file.name for file in folder.iterdir()) == [
        "ca.crt",
        "certificate.json",
        "node.pem",
    ]
    assert not (node.data_dir / "secret").exists()


def rpc(
    cluster: Cluster, node: Node, method: str, path: str, body: msgspec.Struct | None = None
) -> int:
    url = f"https://{JUDICATOR}:{cluster.ports.rpc}{path}"
    sent = b"" if body is None else msgspec.msgpack.encode(body)
    request = urllib.request.Request(url, method=method, data=sent if method != "GET" else None)
    try:
        with urllib.request.urlopen(request, timeout=10, context=showing(node)) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_role_can_do_what_is_its_own(cluster: Cluster, gateway: Khala) -> None:
    executor, gateway_node = cluster.nodes["e"], cluster.nodes["g"]
    task = gateway.submit(execute_command="true")
    for method, path in (
        ("DELETE", f"/rpc/v1/tasks/{task}"),
        ("GET", f"/rpc/v1/tasks/{task}"),
        ("POST", "/rpc/v1/tasks"),
        ("POST", "/rpc/v1/tokens"),
        ("PUT", "/rpc/v1/settings/cluster"),
    ):
        assert rpc(cluster, executor, method, path) == 403, path
    # What was submitted is an executor's as long as it has the task.
    ended = gateway.submit(execute_command="wc -c", execute_input="x" * 200_000)
    assert gateway.wait_done(ended)["result"]["execute_output"] == "200000\n"
    part = f"/rpc/v1/tasks/{ended}/parts/{Part.EXECUTE_INPUT}"
    assert rpc(cluster, gateway_node, "GET", part) == 200
    assert rpc(cluster, executor, "GET", part) == 400
    for path in ("/rpc/v1/members", "/rpc/v1/epoch"):
        assert rpc(cluster, gateway_node, "GET", path) == 403, path
    assert rpc(cluster, gateway_node, "GET", f"/rpc/v1/tasks/{task}") == 200
    assert rpc(cluster, executor, "GET", "/rpc/v1/cluster") == 200


def test_a_host_joins_with_a_token_that_a_gateway_made(cluster: Cluster, gateway: Khala) -> None:
    path = "/api/v2/cluster/join-tokens"
    status, made = gateway.send("POST", path, {"role": "executor"})
    assert status == 201, made
    file = cluster.folder / "by-gateway"
    file.write_text(made["token"])
    file.chmod(0o600)
    node = Node(cluster.folder, "late", "executor", ("--join", cluster.judicators))
    node.start("--join-token-file", str(file))
    try:
        wait_until(
            lambda: any(
                each["name"] == "late" and each["state"] == "online"
                for each in gateway.call("GET", "/api/v2/nodes")[1]["executors"]
            ),
            120,
            "it has joined",
        )
    finally:
        node.stop()
        node.destroy()
    assert gateway.call("GET", path)[1]["items"] == []
    named = ("--url", gateway.url)
    other = command("token", "create", "--role", "gateway", "--ttl", "10m", *named)
    assert other.returncode == 0, other.stderr
    assert other.stdout.startswith("KH1") and "for 1 gateway, until" in other.stderr
    [record] = gateway.call("GET", path)[1]["items"]
    listed = command("token", "ls", *named).stdout
    assert record["id"] in listed and " 1/1 " in listed
    assert record["id"] not in command("token", "revoke", record["id"], *named).stdout
    assert gateway.call("GET", path)[1]["items"] == []
    closed = command("token", "create", "--role", "judicator", *named)
    assert (closed.returncode, closed.stdout) == (5, "")
    assert "khala.pex token create --role judicator" in closed.stderr


def test_a_gateway_gives_nobody_the_authority_and_says_not_what_is_kept(
    cluster: Cluster, gateway: Khala
) -> None:
    """Not by its API, and not with its certificate either, which may be in wrong hands."""
    asked = {"role": "judicator"}
    status, problem = gateway.send("POST", "/api/v2/cluster/join-tokens", asked)
    assert (status, problem["code"]) == (409, "not_possible")
    assert "khala.pex token create --role judicator" in problem["detail"]
    node = cluster.nodes["g"]
    body = MakeToken(role="judicator", ttl_s=60.0, uses=1)
    assert rpc(cluster, node, "POST", "/rpc/v1/tokens", body) == 409
    keep = Forget(keep=Retention(count=0), dry_run=True)
    assert rpc(cluster, node, "POST", "/rpc/v1/retention", keep) == 400
    status, found = gateway.send("POST", "/api/v2/gc", {"dry_run": True})
    assert (status, found["tasks"], found["kept"]["age_s"]) == (200, 0, None)


def refused(cluster: Cluster, folder: Path, token: str, role: str = "executor") -> str:
    file = folder / "token"
    file.write_text(token)
    result = command(
        *(role, "--data-dir", str(folder / "data"), "--name", "late"),
        *("--join", f"{JUDICATOR}:{cluster.ports.rpc}", "--join-token-file", str(file)),
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert token.strip().rpartition(":")[2] not in result.stderr
    return result.stderr.splitlines()[-1]


def test_a_refused_token_says_why_and_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    token = cluster.token_file("executor", "--ttl", "1s").read_text()
    time.sleep(1.1)
    assert "expired at" in (line := refused(cluster, tmp_path, token))
    assert "khala.pex token create --role executor" in line
    token = cluster.token_file("executor").read_text()
    assert "is for role executor, this is a gateway" in refused(cluster, tmp_path, token, "gateway")
    identifier = token.split(".")[1].split(":")[0]
    revoked = cluster.run("token", "revoke", identifier)
    assert revoked.returncode == 0 and identifier not in revoked.stdout
    assert "does not know the token" in refused(cluster, tmp_path, token)
    token = cluster.token_file("gateway").read_text()
    foreign = re.sub("KH1.{8}", "KH100000000", token)
    assert "nothing secret was sent" in refused(cluster, tmp_path, foreign, "gateway")
    assert "not a join token" in refused(cluster, tmp_path, "KH1nonsense")


def test_a_used_up_token_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    file = cluster.token_file("executor")
    first = Node(tmp_path, "first", "executor", ("--join", cluster.judicators))
    cluster.nodes["first"] = first
    first.start("--token-file", str(file))
    wait_until(lambda: identity(first).joinpath("certificate.json").exists(), 60, "it joined")
    assert "has been used 1 times" in refused(cluster, tmp_path, file.read_text())
    first.destroy()


def test_joining_without_a_token_names_the_command(tmp_path: Path) -> None:
    for role in ("executor", "gateway", "judicator"):
        result = command(role, "--data-dir", str(tmp_path / role), "--join", "10.255.255.1")
        assert result.returncode == 2
        assert f"khala.pex token create --role {role}" in result.stderr


def expiry(node: Node) -> datetime:
    described = json.loads((identity(node) / "certificate.json").read_bytes())
    return datetime.fromisoformat(described["expires_at"])


def test_certificates_renew_themselves_in_time(cluster: Cluster, gateway: Khala) -> None:
    """After each of the first ones has ended, every connection is made anew: only renewed
    certificates that are really in use let that happen."""
    nodes = [cluster.nodes[name] for name in ("j", "e", "g")]
    first = {node.name: expiry(node) for node in nodes}
    task = gateway.submit(execute_command=f"sleep {LIFE_S}; echo undisturbed", execute_timeout="60")
    last = max(first.values()).timestamp()
    wait_until(
        lambda: time.time() > last and all(expiry(node) > first[node.name] for node in nodes),
        3 * LIFE_S,
        "every certificate is a later one, and the first ones have ended",
    )
    os.kill(cluster.nodes["j"].pid_of("judicator-serve"), signal.SIGKILL)
    found = gateway.wait_done(task, 90)
    assert (found["result"]["execute_output"], found["status"]) == ("undisturbed\n", 5)
    for word in ("etcd", "mongod"):
        os.kill(cluster.nodes["j"].pid_of(word), signal.SIGKILL)
    task = gateway.submit(execute_command="echo again")
    assert gateway.wait_done(task, 90)["result"]["execute_output"] == "again\n"


def test_the_roles_of_a_judicators_host_need_no_token(cluster: Cluster) -> None:
    data_dir = str(cluster.nodes["j"].data_dir)
    assert command("status", "--data-dir", data_dir).returncode == 0
    here = ("--data-dir", data_dir, "--rpc-port", str(cluster.ports.rpc))
    node = Node(cluster.folder, "beside", "executor", here)
    node.start()
    try:
        wait_until(
            lambda: "executor beside: online" in command("status", "--data-dir", data_dir).stdout,
            60,
            "it is online",
        )
    finally:
        node.stop()
