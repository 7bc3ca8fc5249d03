"""The playbooks, run as an operator runs them: over SSH, on hosts with systemd."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import PEX, ROOT, wait_until
from tests.hosts.docker import LABEL, docker

#: As in compose.yml, and then systemd instead of an idle process.
_INIT = """
for at in $(grep -o ' /sys/fs/cgroup[^ ]*' /proc/self/mounts); do mount -o remount,bind,rw $at; done
for at in $(grep -o ' /proc/[^ ]*' /proc/self/mounts); do umount $at; done
exec /sbin/init
"""
_URL = "http://127.0.0.1:7000"
_TASK = """
import json, urllib.request as u
body = json.dumps({"stages": {"execute": {"command": "COMMAND"}}}).encode()
url = "http://127.0.0.1:7000/api/v2/tasks?wait=WAITs"
call = u.Request(url, body, {"Content-Type": "application/json"})
print(u.urlopen(call, timeout=90).read().decode())
"""


class Site:
    """Judicators, the first one with a gateway, and executors, as an inventory names them."""

    def __init__(
        self, folder: Path, judicators: tuple[str, ...], executors: tuple[str, ...]
    ) -> None:
        self.folder = folder
        self.first = judicators[0]
        self.names = (*judicators, *executors)
        self._marks = f"khala-ansible-{uuid.uuid4().hex[:8]}"
        key = folder / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60
        )
        docker("network", "create", "--label", LABEL, self._marks)
        self.addresses = {name: self._host(name, key) for name in self.names}
        host = {name: {"ansible_host": address} for name, address in self.addresses.items()}
        common = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        inventory = {
            "all": {
                "vars": {
                    "ansible_user": "root",
                    "ansible_ssh_private_key_file": str(key),
                    "ansible_ssh_common_args": common,
                }
            },
            "judicators": {"hosts": {name: host[name] for name in judicators}},
            "gateways": {"hosts": {self.first: None}},
            "executors": {
                "hosts": {name: host[name] for name in executors},
                "vars": {"khala_executor_settings": {"executor.slots": 2}},
            },
        }
        (folder / "inventory.json").write_text(json.dumps(inventory))

    def _host(self, name: str, key: Path) -> str:
        container = f"{self._marks}-{name}"
        docker(
            *("run", "-d", "--name", container, "--hostname", name, "--network", self._marks),
            *("--label", LABEL),
            *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"),
            *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
            *("--tmpfs", "/run", "--tmpfs", "/run/lock", "-e", "container=docker"),
            *(os.environ["HOST_IMAGE"], "sh", "-c", _INIT),
        )
        docker("exec", container, "mkdir", "-p", "-m", "700", "/root/.ssh")
        docker("cp", f"{key}.pub", f"{container}:/root/.ssh/authorized_keys")
        docker("exec", container, "chown", "root:root", "/root/.ssh/authorized_keys")
        wait_until(
            lambda: (
                docker("exec", container, "systemctl", "is-active", "ssh", check=False) == "active"
            ),
            60,
            f"{name} answers SSH",
        )
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "-f", address, container)

    def run(self, name: str, *command: str) -> str:
        return docker("exec", f"{self._marks}-{name}", *command)

    def play(self, book: str, **variables: str) -> dict[str, dict[str, int]]:
        """What Ansible counted, by host."""
        folder = ROOT / "build" / "ansible"
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *("-i", str(self.folder / "inventory.json"), book),
                *("-e", json.dumps(variables)),
            ],
            cwd=folder,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
                # Connections that are kept belong to hosts whose addresses others have next.
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "ssh"),
            },
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        recap = done.stdout.rpartition("PLAY RECAP")[2]
        return {
            line.split()[0]: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}
            for line in recap.splitlines()
            if "ok=" in line
        }

    def task(self, command: str, wait_s: int = 60) -> dict[str, object]:
        """Its document, asked for on the gateway's host."""
        program = _TASK.replace("COMMAND", command).replace("WAIT", str(wait_s))
        found: dict[str, object] = json.loads(self.run(self.first, "python3", "-c", program))
        return found

    def get(self, path: str) -> Any:
        """Of the HTTP API, asked for on the gateway's host."""
        program = f"import urllib.request as u; print(u.urlopen('{_URL}{path}').read().decode())"
        return json.loads(self.run(self.first, "python3", "-c", program))

    def version_of(self, name: str) -> str:
        return self.run(name, "readlink", "/usr/local/bin/khala.pex")

    def close(self) -> None:
        for name in self.names:
            docker("rm", "-f", f"{self._marks}-{name}", check=False)
        docker("network", "rm", self._marks, check=False)


@contextlib.contextmanager
def sites(folder: Path, judicators: tuple[str, ...], executors: tuple[str, ...]) -> Iterator[Site]:
    site = Site(folder, judicators, executors)
    try:
        yield site
    finally:
        site.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with sites(tmp_path_factory.mktemp("ansible"), ("j1",), ("x1",)) as site:
        yield site


@pytest.mark.timeout(3000)
def test_a_site_is_made_kept_upgraded_and_saved(site: Site, tmp_path: Path) -> None:
    made = site.play("site.yml")
    assert made["x1"]["changed"] > 0
    assert site.task("echo made")["state"] == "succeeded"

    again = site.play("site.yml")
    assert [host["changed"] for host in again.values()] == [0, 0]

    before = site.version_of("x1")
    newer = tmp_path / "khala.pex"
    newer.write_bytes(PEX.read_bytes())
    with zipfile.ZipFile(newer, "a") as archive:
        archive.comment = b"another file with another hash"
    newer.chmod(0o755)
    site.play("upgrade.yml", khala_file=str(newer), khala_backup_fetch_to=str(tmp_path / "backups"))
    assert site.version_of("x1") != before
    assert site.task("echo upgraded")["state"] == "succeeded"
    [saved] = (tmp_path / "backups").iterdir()
    verified = subprocess.run(
        [str(PEX), "backup", "verify", str(saved)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert "1 tasks" in verified.stdout


@pytest.mark.timeout(3600)
def test_three_judicators_are_made_an_executor_drained_and_all_restored_elsewhere(
    tmp_path: Path,
) -> None:
    backups = {"khala_backup_fetch_to": str(tmp_path / "backups")}
    folders = [tmp_path / name for name in ("three", "restored")]
    for folder in folders:
        folder.mkdir()
    with sites(folders[0], ("j1", "j2", "j3"), ("x1",)) as three:
        three.play("site.yml")
        assert {host["changed"] for host in three.play("site.yml").values()} == {0}
        nodes = three.get("/api/v2/nodes")
        assert [node["serving"] for node in nodes["judicators"]] == [True] * 3
        made = three.task("echo made")
        assert made["state"] == "succeeded"
        three.play("drain.yml", khala_drain="x1", khala_drained="stopped")
        waiting = three.task("echo waited", wait_s=0)
        assert three.get(f"/api/v2/tasks/{waiting['id']}")["state"] == "queued"
        three.play("backup.yml", **backups)
        three.play("drain.yml", khala_drain="x1", khala_drained="back")
        assert three.task("echo back")["state"] == "succeeded"
    [saved] = (tmp_path / "backups").iterdir()
    with sites(folders[1], ("r1",), ("y1",)) as restored:
        restored.play("restore.yml", khala_backup=str(saved))
        found = restored.get(f"/api/v2/tasks/{made['id']}")
        assert (found["state"], found["created_at"]) == (made["state"], made["created_at"])
        again = restored.get(f"/api/v2/tasks/{waiting['id']}?wait=60s")
        assert again["state"] == "succeeded"
