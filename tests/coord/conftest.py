"""One etcd for the tests that leave it alone; members of their own for those that do not."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from khala.coordination.etcd_rpc import EtcdRpc
from tests.coord.etcd import Cluster, Member
from tests.coord.patience import readable

NewCluster = Callable[..., Cluster]
Connect = Callable[..., EtcdRpc]


@pytest.fixture(scope="session")
def etcd() -> Iterator[Member]:
    with tempfile.TemporaryDirectory(prefix="khala-etcd-") as directory:
        cluster = Cluster(Path(directory), 1)
        cluster.start()
        yield cluster.members[0]
        cluster.kill()


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[NewCluster]:
    """Members that a test may do anything to."""
    with ExitStack() as clusters:

        def build(size: int, quota_bytes: int | None = None) -> Cluster:
            cluster = Cluster(tmp_path, size)
            for member in cluster.members:
                member.quota_bytes = quota_bytes
            clusters.callback(cluster.kill)
            cluster.start()
            return cluster

        yield build


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    clients: list[EtcdRpc] = []

    def build(*endpoints: str) -> EtcdRpc:
        clients.append(EtcdRpc(endpoints))
        return clients[-1]

    yield build
    for client in clients:
        await client.close()


@pytest_asyncio.fixture
async def rpc(etcd: Member, connect: Connect) -> EtcdRpc:
    client = connect(etcd.endpoint)
    await readable(client)
    return client
