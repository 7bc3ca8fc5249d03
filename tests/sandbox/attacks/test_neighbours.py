"""Another task at the same time, and the services of the host: out of reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from khala.model.outcome import Reason
from khala.model.spec import Network
from tests.sandbox.attacks.attack import Attack, cases, strike
from tests.sandbox.attacks.host import MARK
from tests.sandbox.harness import Runner

_SECRET = "secret-of-the-neighbour"
_NEIGHBOUR = f"""
import mmap, os, socket, subprocess, sys, tempfile, time
secret = {_SECRET!r}
kept = [mmap.mmap(-1, 4096), secret * 100]
for place in (".", "/tmp", "/dev/shm"):
    open(place + "/neighbour", "w").write(secret)
    os.mkfifo(place + "/neighbour.fifo", 0o666)
for name in ("\\0{MARK}-neighbour", "/tmp/neighbour.sock"):
    s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen(); kept.append(s)
s = socket.create_server(("0.0.0.0", 5005)); kept.append(s)
subprocess.run(["ipcmk", "-Q", "-p", "666"], stdout=2)
subprocess.run(["ipcmk", "-M", "4096", "-p", "666"], stdout=2)
print("ready", flush=True)
time.sleep(50)
"""
#: Looks everywhere for what the neighbour has; prints what it found.
_SEARCH = f"""
import errno, glob, os, signal, socket
secret = {_SECRET!r}.encode()
for path in glob.glob("/proc/[0-9]*/*") + glob.glob("/proc/[0-9]*/root/*/*") + glob.glob("/*/*"):
    try:
        if "neighbour" in path or (os.path.isfile(path) and secret in open(path, "rb").read(1 << 20)):
            if "/proc/%d/" % os.getpid() not in path and "self" not in path:
                print("ESCAPE: found", path)
    except OSError:
        pass
for family, address in (
    (socket.AF_UNIX, "\\0{MARK}-neighbour"), (socket.AF_UNIX, "/tmp/neighbour.sock"),
    (socket.AF_INET, ("127.0.0.1", 5005)), (socket.AF_INET, ("0.0.0.0", 5005)),
    (socket.AF_INET6, ("::1", 5005)), (socket.AF_INET6, ("::ffff:127.0.0.1", 5005)),
):
    try:
        s = socket.socket(family)
    except OSError as error:
        assert family == socket.AF_INET6 and error.errno == errno.EAFNOSUPPORT  # a kernel without
        continue
    with s:
        if s.connect_ex(address) == 0:
            print("ESCAPE: connected", address)
for number in range(2, 5000):
    if number not in (os.getpid(), os.getppid()):
        try:
            os.kill(number, signal.SIGKILL)
            print("killed", number)
        except OSError:
            pass
print("searched")
"""


@pytest.fixture
async def neighbour(runner: Runner) -> AsyncIterator[None]:
    """A task in the other slot, which is unharmed at the end."""
    cancel = asyncio.Event()
    job = runner.job("python3 neighbour.py", environment={"SECRET": _SECRET})
    async with runner.sandbox.box(1) as box:
        await box.put("neighbour.py", _NEIGHBOUR.encode())
        running = asyncio.ensure_future(box.run(job, cancel))
        while not os.path.exists(job.stdout) or b"ready" not in Path(job.stdout).read_bytes():
            assert not running.done(), (running.result(), Path(job.stderr).read_text())
            await asyncio.sleep(0.01)
        yield
        await asyncio.sleep(0.05)
        assert not running.done(), running.result()
        cancel.set()
        assert (await running).reason is Reason.CANCELLED


_ATTACKS = [
    Attack(name="search", command="python3 search.py", files={"search.py": _SEARCH}, says="searched"),
    Attack(name="signals to all", command="trap '' TERM INT; kill -TERM -1; kill -INT -1; echo tried", says="tried"),
    Attack(name="signals to groups and sessions", command="for i in $(seq 2 60); do kill -9 -$i 2>&-; pkill -9 -s $i; done; echo tried", says="tried"),
    Attack(name="queues and segments", command="ipcs -a | grep -c 0x; for i in 0 1 2 3; do ipcrm -q $i -m $i -s $i 2>&-; done; echo tried", says="0\ntried"),
    Attack(name="queues of POSIX", command="mkdir m; mount -t mqueue x m 2>&- && echo ESCAPE; echo tried", says="tried"),
    Attack(name="ports", command="python3 -c 'import socket\nfor p in (*range(1, 1024), *range(4990, 5020), *range(1024, 65536, 97)):\n    s = socket.socket()\n    s.settimeout(1)\n    if s.connect_ex((\"127.0.0.1\", p)) == 0 and s.getsockname() != s.getpeername(): print(\"ESCAPE\", p)\n    s.close()\nprint(\"scanned\")'", says="scanned"),
    Attack(name="the same port", command="python3 -c 'import socket; socket.create_server((\"0.0.0.0\", 5005)); print(1)'", says="1"),
    Attack(name="the same abstract name", command=f"python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"\\0{MARK}-neighbour\"); print(1)'", says="1"),
    Attack(name="processor time", command="for i in $(seq 8); do (while :; do :; done) & done; sleep 0.3; echo ran; exit 0", says="ran"),
    Attack(name="locks on files that both see", command="exec 3</usr/bin/env; flock -n -x 3; (flock -n -x 3 </usr/bin/env); echo tried", says="tried"),
]  # fmt: skip


@cases(_ATTACKS)
async def test_neighbours(runner: Runner, neighbour: None, attack: Attack) -> None:
    await strike(runner, attack)


@pytest.fixture
def listeners() -> Iterator[dict[str, str]]:
    """Services of the host, each of which reports who came."""
    with contextlib.ExitStack() as stack:
        addresses = {}
        opened = []
        for name, family, kind, address in (
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),
            ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0)),
            ("stream", socket.AF_UNIX, socket.SOCK_STREAM, f"\0{MARK}-stream"),
            ("datagram", socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{MARK}-datagram"),
            ("packets", socket.AF_UNIX, socket.SOCK_SEQPACKET, f"\0{MARK}-packets"),
        ):
            try:
                one = stack.enter_context(socket.socket(family, kind))
                one.bind(address)
            except OSError:  # a host without IPv6
                continue
            if kind != socket.SOCK_DGRAM:
                one.listen()
            one.setblocking(False)
            opened.append((name, one))
            addresses[name] = repr(one.getsockname())
        yield addresses
        assert [name for name, one in opened if _was_visited(one)] == []


def _was_visited(one: socket.socket) -> bool:
    try:
        if one.type == socket.SOCK_DGRAM:
            one.recv(100)
        else:
            one.accept()
    except BlockingIOError:
        return False
    return True


_VISIT = """
import os, socket, sys
kinds = {"tcp": (2, 1), "tcp6": (10, 1), "udp": (2, 2), "stream": (1, 1), "datagram": (1, 2), "packets": (1, 5)}
hosts = ["127.0.0.1", "10.0.0.1", "172.17.0.1", "192.168.0.1", "169.254.169.254", "255.255.255.255", *sys.argv[1:]]
for name, address in ADDRESSES.items():
    targets = [address]
    if name in ("tcp", "udp"): targets = [(host, address[1]) for host in hosts]
    if name == "tcp6": targets = [("::1", address[1]), ("fe80::1", address[1])]
    if isinstance(address, bytes): targets = [address, address.decode().replace("\\0", "/tmp/")]
    for target in targets:
        s = socket.socket(*kinds[name])
        s.settimeout(0.3)
        try:
            s.connect(target)
            s.send(b"x")
            if name != "udp": print("ESCAPE", name, target)
        except OSError:
            pass
for name in os.listdir("/proc/self/net") if os.path.isdir("/proc/self/net") else []:
    try:
        if "khala-attack-" in open("/proc/self/net/" + name, errors="replace").read():
            print("ESCAPE: listed in", name)
    except OSError:
        pass
print("visited", [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line])
"""


@pytest.mark.parametrize("network", [Network.NONE, Network.LOOPBACK])
async def test_services_of_the_host(
    runner: Runner, listeners: dict[str, str], network: Network
) -> None:
    addresses = "{" + ", ".join(f"{name!r}: {at}" for name, at in listeners.items()) + "}"
    own = ""
    with contextlib.suppress(socket.gaierror):  # a host that does not know its own name
        own = " ".join({str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), 80)})
    await strike(
        runner,
        Attack(
            name="visit",
            command=f"python3 visit.py {own}",
            files={"visit.py": _VISIT.replace("ADDRESSES", addresses)},
            says=r"visited \['lo'\]",
            network=network,
        ),
    )


#: Each prints where it got, if anywhere, and then what it is worth: a jail without the host's
#: network would pass for one that keeps everything else.
_SHARING = """
import os, socket, struct, sys
host = dict(each.split("=") for each in sys.argv[1].split(","))
for name, identity in host.items():
    if (os.readlink("/proc/self/ns/" + name) == identity) != (name == "net"):
        print("ESCAPE: namespace", name)
for family, kind, protocol in ((2, 3, 1), (2, 3, 255), (10, 3, 58), (17, 3, 768), (17, 2, 768), (16, 3, 9), (16, 3, 4), (40, 1, 0)):
    try:
        socket.socket(family, kind, protocol)
        print("ESCAPE: socket", family, kind, protocol)
    except OSError:
        pass
for path in ("ipv4/ip_forward", "core/somaxconn", "ipv4/ip_local_port_range"):
    try:
        open("/proc/sys/net/" + path, "r+")
        print("ESCAPE: setting", path)
    except OSError:
        pass
status = open("/proc/self/status").read()
for line in ("CapEff:\\t0000000000000000", "CapBnd:\\t0000000000000000", "NoNewPrivs:\\t1", "Seccomp:\\t2"):
    if line not in status:
        print("ESCAPE: not", line)
with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as s:
    s.sendall(b"I am there")
print("shared")
"""
_CHANGES = (
    "ip link add khala0 type dummy; ip addr add 198.51.100.7/32 dev lo; ip tuntap add khala1 mode tap;"
    " ip route add 198.51.100.0/24 dev lo; ip neigh add 198.51.100.8 dev lo lladdr 02:00:00:00:00:01;"
    " ls -d /sys/class/net /run/* /var/run/*; echo tried"
)


async def test_the_hosts_network_is_all_that_is_shared(runner: Runner) -> None:
    host = ",".join(
        f"{name}={os.readlink(f'/proc/self/ns/{name}')}"
        for name in ("net", "pid", "mnt", "ipc", "uts", "user", "cgroup")
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        sharing = Attack(
            name="sharing",
            command=f"python3 sharing.py {host} {server.getsockname()[1]}",
            files={"sharing.py": _SHARING},
            says="shared",
            network=Network.FULL,
        )
        await strike(runner, sharing)
        server.settimeout(0)
        with server.accept()[0] as visitor:
            assert visitor.recv(100) == b"I am there"
    await strike(
        runner, Attack(name="changes", command=_CHANGES, says="tried", network=Network.FULL)
    )


async def test_none_is_less_than_a_loopback_interface(runner: Runner) -> None:
    command = (
        'python3 -c \'import socket\ns = socket.create_server(("0.0.0.0", 5005))\n'
        'for at in ("127.0.0.1", "0.0.0.0"):\n'
        '    if socket.socket().connect_ex((at, 5005)) == 0: print("ESCAPE", at)\n'
        'a, b = socket.socketpair(); a.send(b"1"); print(b.recv(1))\''
    )
    await strike(runner, Attack(name="itself", command=command, says="b'1'", network=Network.NONE))


async def test_interfaces_stay_as_they_are(runner: Runner) -> None:
    command = (
        "ip link add x type dummy; ip link add v type veth; ip addr add 10.9.9.9/8 dev lo;"
        " ip route add default dev lo; ip link set lo down; ip tuntap add t0 mode tap;"
        " ifconfig lo 10.9.9.9; iptables -F; nft list ruleset; tc qdisc add dev lo root netem;"
        " python3 -c 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914,"
        ' struct.pack("16sH", b"lo", 0))\'; ls /sys/class/net; cut -d: -f1 /proc/net/dev | tail -n +3'
    )
    await strike(runner, Attack(name="interfaces", command=command + " | tr -d ' '", says="lo"))


async def test_both_slots_attack_each_other(runner: Runner) -> None:
    kill = "trap '' TERM; for i in $(seq 30); do kill -TERM -1; kill -9 $((RANDOM % 99999)); done 2>&-; echo alive"
    attack = Attack(name="duel", command=kill, says="alive")
    async with asyncio.TaskGroup() as group:
        for slot in range(2):
            group.create_task(strike(runner, attack, slot))
