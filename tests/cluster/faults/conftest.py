"""The hosts, started once: rows break them and make them whole again."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.faults import failpoints
from tests.cluster.faults.cluster import JUDICATORS, Cluster
from tests.cluster.harness import PEX
from tests.hosts.docker import PEX_CACHE, Host, docker, weighed


@pytest.fixture(scope="module")
def seed() -> int:
    """Of this run's faults; `KHALA_FAULT_SEED` repeats one."""
    given = os.environ.get("KHALA_FAULT_SEED")
    return int(given) if given else random.SystemRandom().randrange(1_000_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the hosts share with this machine."""
    folder = tmp_path_factory.mktemp("hosts")
    shutil.copy2(PEX, folder / "khala.pex")
    PEX_CACHE.mkdir(exist_ok=True)
    (folder / "pex").symlink_to(PEX_CACHE)
    Cluster.prepare(folder)
    yield folder
    Cluster.clean(folder)


@pytest.fixture(scope="module")
def docker_compose_command() -> str:
    return "docker-compose"


@pytest.fixture(scope="module")
def docker_setup() -> list[str]:
    return ["up -d --no-build"]


@pytest.fixture(scope="module")
def docker_cleanup() -> list[str]:
    return ["down -v --timeout 1"]


@pytest.fixture(scope="module")
def docker_compose_file(files: Path) -> str:
    assert os.environ.get("HOST_IMAGE"), "HOST_IMAGE is not set: run build/test cluster"
    os.environ["HOST_FILES"] = str(files)
    return str(Path(__file__).with_name("compose.yml"))


@pytest.fixture(scope="module")
def cluster(
    docker_services: Any, docker_compose_project_name: str, files: Path
) -> Iterator[Cluster]:
    ours = f"label=com.docker.compose.project={docker_compose_project_name}"
    service = '{{.ID}} {{.Label "com.docker.compose.service"}}'
    shown = docker("ps", "--filter", ours, "--format", service).splitlines()
    hosts = {name: Host(name, container) for container, name in map(str.split, shown)}
    hosts[JUDICATORS[0]].run("khala.pex version")
    for packages in PEX_CACHE.glob("venvs/*/*/*/lib/python3*/site-packages"):
        failpoints.install(packages)
    with weighed(hosts.values()):
        cluster = Cluster(files, hosts)
        cluster.start()
        yield cluster
        cluster.close()
