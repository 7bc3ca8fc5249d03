"""Two of three judicators are lost for good: the third becomes the cluster, if told to."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from khala.net.ports import free_ports
from tests.cluster.harness import PEX, Khala, wait_until
from tests.cluster.nodes import Cluster, Node, gateway_of, growing, wait_ready
from tests.cluster.test_members import add_judicator, members, settled

pytestmark = pytest.mark.timeout(500)
ADDRESSES = {"a": "127.0.0.41", "b": "127.0.0.42", "c": "127.0.0.43"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with growing(tmp_path_factory.mktemp("recover")) as cluster:
        cluster.judicator("a", ADDRESSES["a"])
        for name in ("b", "c"):
            add_judicator(cluster, name, ADDRESSES[name])
        yield cluster


@pytest.fixture(scope="module")
def gateway(cluster: Cluster) -> Khala:
    cluster.join("e1", "executor", "--slots", "1")
    (port,) = free_ports(1)
    node = cluster.join("g1", "gateway", "--http-port", str(port))
    client = gateway_of(node, port)
    wait_ready(client, node)
    return client


def recover(cluster: Cluster, *confirmed: str) -> tuple[int, str, str]:
    own = ("--bind", ADDRESSES["a"], *cluster.ports.argv)
    done = cluster.run("recover", "--from-survivor", *own, *confirmed, on="a")
    return done.returncode, done.stdout, done.stderr


def cut_recoveries(cluster: Cluster, *confirmed: str) -> None:
    """kill -9 while the data is rewritten; the judicator knows that it is not what it was."""
    own = (
        "--bind",
        ADDRESSES["a"],
        *cluster.ports.argv,
        "--data-dir",
        str(cluster.nodes["a"].data_dir),
    )
    argv = [str(PEX), "recover", "--from-survivor", *own, *confirmed]
    for moment in (b"rewriting the replica set", b"starting both databases"):
        with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stderr is not None
            assert any(moment in line for line in process.stderr)
            process.kill()
        assert "repeat khala.pex recover" in refuses_to_start(cluster.nodes["a"])


def refuses_to_start(node: Node) -> str:
    node.start()
    wait_until(lambda: not node.alive(), 60, f"{node.name} ends")
    assert node.process is not None and node.process.returncode == 2
    return node.log_tail()


def all_queued(gateway: Khala, tasks: list[str]) -> bool:
    """One that was given to an executor ahead of a free slot comes back."""
    return all(gateway.explain(task)["state"] == "queued" for task in tasks)


def test_a_survivor_goes_on_alone_and_nothing_of_before_comes_back(
    cluster: Cluster, gateway: Khala
) -> None:
    ended = gateway.submit(execute_command="echo before")
    assert gateway.wait_done(ended)["result"]["execute_output"] == "before\n"
    long_once = '[ "$KHALA_ATTEMPT" -gt 1 ] || sleep 400; echo ran'
    running = gateway.submit(execute_command=long_once, execute_timeout="500")
    wait_until(lambda: gateway.task(running)["status"] == 3, 60, "it runs")
    waiting = [gateway.submit(execute_command=f"echo {number}") for number in range(5)]
    wait_until(lambda: all_queued(gateway, waiting), 60, "they wait")
    wait_until(lambda: "behind" not in str(members(cluster)), 60, "all have everything")
    token = cluster.token_file("judicator")
    a, b, c = (cluster.nodes[name] for name in "abc")
    code, _, told = recover(cluster)
    assert code == 2
    assert "is in use by process" in told

    c.kill9()
    shutil.rmtree(c.data_dir)
    a.kill9()
    code, _, told = recover(cluster)
    assert code == 2
    assert f"b ({ADDRESSES['b']}:{cluster.ports.rpc}) and c" in told
    confirmed = tuple(told.strip().split()[-2:])
    assert confirmed[0] == "--yes-i-have-lost"
    code, _, told = recover(cluster, *confirmed)
    assert code == 2
    assert "judicator b answers" in told
    b.kill9()
    code, _, told = recover(cluster, "--yes-i-have-lost", "another")
    assert code == 2
    assert "'another' is not this cluster" in told

    cut_recoveries(cluster, *confirmed)
    code, said, told = recover(cluster, *confirmed)
    assert code == 0, told
    assert "a is the only judicator of the cluster now (epoch 1" in said
    assert "6 of them unfinished; 1 of these were on executors and run again" in said
    a.start()
    cluster.wait_serving("a")
    for number, task in enumerate(waiting):
        assert gateway.wait_done(task, 120)["result"]["execute_output"] == f"{number}\n"
    assert gateway.wait_done(running, 120)["result"]["execute_output"] == "ran\n"
    assert gateway.explain(running)["attempt"] > 1000
    assert gateway.task(ended)["result"]["execute_output"] == "before\n"
    after = gateway.submit(execute_command="echo after")
    assert gateway.wait_done(after)["result"]["execute_output"] == "after\n"
    assert [each["member"]["name"] for each in members(cluster, on="a")["members"]] == ["a"]

    told = refuses_to_start(b)
    assert "the cluster was recovered without the judicator" in told
    assert "has been taken out of its cluster" in refuses_to_start(b)
    shutil.rmtree(b.data_dir)
    b.start("--join", f"{ADDRESSES['a']}:{cluster.ports.rpc}", "--join-token-file", str(token))
    wait_until(lambda: not b.alive(), 60, "a token of before is refused")
    assert "token" in b.log_tail()
    del cluster.addresses["c"], cluster.addresses["b"]
    add_judicator(cluster, "b", ADDRESSES["b"])
    assert settled(cluster, 2, on="b")
    assert cluster.run("recover", "--from-survivor", on="b").returncode == 2
