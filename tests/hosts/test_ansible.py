"""The playbooks, run as an operator runs them: over SSH, on hosts with systemd."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, ROOT, wait_until
from tests.hosts.docker import docker

#: As in compose.yml, and then systemd instead of an idle process.
_INIT = """
for at in $(grep -o ' /sys/fs/cgroup[^ ]*' /proc/self/mounts); do mount -o remount,bind,rw $at; done
for at in $(grep -o ' /proc/[^ ]*' /proc/self/mounts); do umount $at; done
exec /sbin/init
"""
_TASK = """
import json, urllib.request as u
body = json.dumps({"stages": {"execute": {"command": "COMMAND"}}}).encode()
url = "http://127.0.0.1:7000/api/v2/tasks?wait=WAITs"
call = u.Request(url, body, {"Content-Type": "application/json"})
print(u.urlopen(call, timeout=90).read().decode())
"""


class Site:
    """A judicator with a gateway, and an executor, as an inventory names them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marks = f"khala-ansible-{uuid.uuid4().hex[:8]}"
        key = folder / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60
        )
        docker("network", "create", self._marks)
        self.addresses = {name: self._host(name, key) for name in ("j1", "x1")}
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
            "judicators": {"hosts": {"j1": host["j1"]}},
            "gateways": {"hosts": {"j1": None}},
            "executors": {
                "hosts": {"x1": host["x1"]},
                "vars": {"khala_executor_settings": {"executor.slots": 2}},
            },
        }
        (folder / "inventory.json").write_text(json.dumps(inventory))

    def _host(self, name: str, key: Path) -> str:
        container = f"{self._marks}-{name}"
        docker(
            *("run", "-d", "--name", container, "--hostname", name, "--network", self._marks),
            *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"),
            *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
            *("--tmpfs", "/run", "--tmpfs", "/run/lock", "-e", "container=docker"),
            *(os.environ["KHALA_HOST_IMAGE"], "sh", "-c", _INIT),
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
            env={**os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg")},
            capture_output=True,
            text=True,
            timeout=600,
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
        printed = docker("exec", f"{self._marks}-j1", "python3", "-c", program)
        found: dict[str, object] = json.loads(printed)
        return found

    def version_of(self, name: str) -> str:
        return docker("exec", f"{self._marks}-{name}", "readlink", "/usr/local/bin/khala.pex")

    def close(self) -> None:
        for name in ("j1", "x1"):
            docker("rm", "-f", f"{self._marks}-{name}", check=False)
        docker("network", "rm", self._marks, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("ansible"))
    yield site
    site.close()


@pytest.mark.timeout(1500)
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
