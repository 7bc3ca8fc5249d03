"""KV2's command lines: each of its flags is taken, and each says what became of it.

People bring scripts. A flag that still means something becomes the setting it means; one whose job
is gone is taken with the reason why it does nothing; one that asks for what Khala cannot do yet is
refused, because a cluster that silently is not one is worse than a script that stops.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct

from khala.config.load import Given
from khala.config.setting import ALL, E, G, J
from khala.config.table import BY_KEY
from khala.model.errors import Rejected


class Special(StrEnum):
    """Values with a meaning of their own."""

    NONE = "none"
    #: `ENV` is the value of $NAME.
    NAME = "name"
    #: `ALL`, `DOCKER`, and the name of a network interface in capitals.
    ADDRESS = "address"
    #: Searched on PATH.
    PROGRAM = "program"


class Kv2Flag(Struct, frozen=True, kw_only=True):
    """A flag that does nothing has no `key`, but a reason `why`. Those of `CLUSTER` are apart."""

    flag: str
    roles: tuple[str, ...]
    switch: bool = False
    key: str | None = None
    special: Special = Special.NONE
    why: str = ""


class Translation(Struct, frozen=True, kw_only=True):
    flags: dict[str, Given]
    #: To be told to the user, one line each.
    notes: list[str]
    #: As `--init` does, but on every start: KV2's scripts say it at each boot.
    founds: bool = False


_LOGS = "events go to stderr, see --log-level"
_SAME_PORT = "a port is advertised as it is listened on"
_NO_ETCD = "only judicators run etcd"
_WATCHED = "child processes are watched all the time and restarted at once"
_RETRIES = "what may be retried is, until a deadline"


def _alias(flag: str, key: str, roles: tuple[str, ...], special: Special = Special.NONE) -> Kv2Flag:
    return Kv2Flag(flag=flag, roles=roles, key=key, special=special)


def _unused(flag: str, why: str, roles: tuple[str, ...]) -> Kv2Flag:
    return Kv2Flag(flag=flag, roles=roles, why=why)


def _switch(flag: str, why: str, roles: tuple[str, ...]) -> Kv2Flag:
    return Kv2Flag(flag=flag, roles=roles, why=why, switch=True)


#: Of two flags for one key, the later wins: a node has one name now.
PLAIN = (
    _unused("--docker-sock", "it is only asked where an address is DOCKER", ALL),
    _unused("--retry-times", _RETRIES, ALL),
    _unused("--retry-interval", _RETRIES, ALL),
    _unused("--boot-check-interval", _WATCHED, ALL),
    _switch("--boot-print-log", _LOGS, ALL),
    _alias("--etcd-exe", "etcd.bin", (J,), Special.PROGRAM),
    _unused("--etcd-exe", _NO_ETCD, (E, G)),
    _alias("--etcd-name", "name", ALL, Special.NAME),
    _unused("--etcd-proxy", "etcd has no proxies any more", ALL),
    _switch("--etcd-strict-reconfig", "it is always on", ALL),
    _alias("--etcd-listen-address", "bind", (J,), Special.ADDRESS),
    _alias("--etcd-listen-peer-port", "etcd.peer_port", (J,)),
    _unused("--etcd-listen-peer-port", _NO_ETCD, (E, G)),
    _alias("--etcd-listen-client-port", "etcd.client_port", (J,)),
    _unused("--etcd-listen-client-port", _NO_ETCD, (E, G)),
    _alias("--etcd-advertise-address", "advertise", (J,), Special.ADDRESS),
    _unused("--etcd-advertise-peer-port", _SAME_PORT, ALL),
    _unused("--etcd-advertise-client-port", _SAME_PORT, ALL),
    _switch("--etcd-print-log", _LOGS, ALL),
    _alias("--mongodb-exe", "mongodb.bin", (J,), Special.PROGRAM),
    _unused("--mongodb-name", "a node has one name, --name", (J,)),
    _alias("--mongodb-listen-address", "bind", (J,), Special.ADDRESS),
    _alias("--mongodb-listen-port", "mongodb.port", (J,)),
    _alias("--mongodb-advertise-address", "advertise", (J,), Special.ADDRESS),
    _unused("--mongodb-advertise-port", _SAME_PORT, (J,)),
    _switch("--mongodb-print-log", _LOGS, (J,)),
    _alias("--main-name", "name", (J, E), Special.NAME),
    _alias("--main-listen-address", "bind", (J,), Special.ADDRESS),
    _alias("--main-listen-port", "rpc.port", (J,)),
    _alias("--main-advertise-address", "advertise", (J,), Special.ADDRESS),
    _unused("--main-advertise-port", _SAME_PORT, (J,)),
    _alias("--main-task-vacant", "executor.slots", (E,)),
    _unused("--main-report-interval", "executors keep a connection and report changes", (E,)),
    _unused("--main-task-user-group", "each slot has a user of its own, see --task-uid-base", (E,)),
    _switch("--main-print-log", _LOGS, (J, E)),
    _alias("--uwsgi-host", "gateway.bind", (G,), Special.ADDRESS),
    _alias("--uwsgi-port", "gateway.port", (G,)),
    _unused("--uwsgi-processes", "one process serves", (G,)),
    _unused("--uwsgi-threads", "one process serves", (G,)),
    _switch("--uwsgi-print-log", _LOGS, (G,)),
)
_JOIN = "`--join`, with the RPC port; beyond loopback with `--join-token-file`"
#: How a node finds its cluster. In KV2's order: of several, the last one counts.
CLUSTER = (
    Kv2Flag(
        flag="--etcd-cluster-init-discovery",
        roles=ALL,
        why="refused: `--join HOST:PORT` names a judicator",
    ),
    Kv2Flag(
        flag="--etcd-cluster-init-member",
        roles=(J,),
        why="one member: as `--etcd-cluster-init-independent`; several: refused, the first one"
        " makes the cluster and the others join it",
    ),
    Kv2Flag(
        flag="--etcd-cluster-init-independent",
        roles=(J,),
        switch=True,
        why="`--init`, but taken at every start",
    ),
    Kv2Flag(flag="--etcd-cluster-join-member-client", roles=ALL, why=_JOIN),
    Kv2Flag(flag="--etcd-cluster-service", roles=ALL, why=_JOIN),
)
SERVICE_PORT = _unused("--etcd-cluster-service-port", "--join takes the RPC port", ALL)
FLAGS = (*PLAIN, *CLUSTER, SERVICE_PORT)


def flags_of(role: str) -> list[Kv2Flag]:
    return [each for each in FLAGS if role in each.roles]


def translate(
    role: str,
    given: Mapping[str, str],
    flags: Mapping[str, Given],
    environment: Mapping[str, str],
) -> Translation:
    """Add what KV2's flags `given` (by flag) mean to `flags` (by key).

    Raise `Rejected` for what contradicts or cannot be done.
    """
    founds = role == J and _founds(given)
    result = Translation(flags=dict(flags), notes=[], founds=founds)
    socket = given.get("--docker-sock")
    for each in (*PLAIN, SERVICE_PORT):
        if each.flag not in given or role not in each.roles:
            continue
        if each.key is None:
            result.notes.append(f"{each.flag} is KV2's and does nothing: {each.why}")
            continue
        value = _value(each, given[each.flag], environment, socket)
        _put(result, flags, each.key, Given(value=value, flag=each.flag))
        result.notes.append(f"{each.flag} is KV2's; use {BY_KEY[each.key].flag}")
    _translate_cluster(role, given, flags, result)
    return result


def _put(result: Translation, flags: Mapping[str, Given], key: str, given: Given) -> None:
    """One name may follow another, but two addresses for one bind are a misunderstanding."""
    other = flags.get(key) or (result.flags.get(key) if key != "name" else None)
    if other is not None and (key in flags or other.value != given.value):
        raise Rejected(
            f"{given.flag}: {other.flag} sets the same ({BY_KEY[key].flag}); give one of them",
            field=given.flag,
        )
    result.flags[key] = given


def _value(each: Kv2Flag, text: str, environment: Mapping[str, str], socket: str | None) -> str:
    match each.special:
        case Special.NAME if text == "ENV":
            name = environment.get("NAME")
            if not name:
                raise Rejected(
                    f"{each.flag}: ENV stands for the variable NAME, which is not set",
                    field=each.flag,
                )
            return name
        case Special.PROGRAM if "/" not in text:
            return shutil.which(text, path=environment.get("PATH")) or text
        case Special.ADDRESS:
            return _address(each.flag, text, socket)
    return text


def _address(flag: str, text: str, socket: str | None) -> str:
    from khala.config.host import container_name, interface_address  # an HTTP client, rarely used

    if text == "ALL":
        return "0.0.0.0"  # noqa: S104 - what ALL means; whether it may be is decided later
    if text == "DOCKER":
        if socket is None:
            raise Rejected(f"{flag}: DOCKER needs --docker-sock", field=flag)
        return container_name(socket)
    if text.isupper():
        return interface_address(text.lower(), flag)
    return text


def _translate_cluster(
    role: str, given: Mapping[str, str], flags: Mapping[str, Given], result: Translation
) -> None:
    named = [each.flag for each in CLUSTER if each.flag in given and role in each.roles]
    if not named:
        return
    result.notes.extend(f"{flag} is KV2's, and {named[-1]} overrides it" for flag in named[:-1])
    flag = named[-1]
    text = given[flag]
    if result.founds:
        result.notes.append(f"{flag} is KV2's; use --init, at the first start alone")
    elif flag == "--etcd-cluster-init-member":
        raise Rejected(
            f"{flag}: start the first judicator with --init; the others join it one by one, with"
            " --join HOST:PORT and --join-token-file",
            field=flag,
        )
    elif flag == "--etcd-cluster-init-discovery":
        raise Rejected(f"{flag}: name a judicator with --join HOST:PORT instead", field=flag)
    else:
        join = Given(value=[_host(flag, each) for each in text.split(",")], flag=flag)
        _put(result, flags, "join", join)
        result.notes.append(f"{flag} is KV2's; use --join HOST:PORT with the RPC port")


def _founds(given: Mapping[str, str]) -> bool:
    """The last of the flags that find a cluster makes one, of this node alone."""
    named = [each.flag for each in CLUSTER if each.flag in given]
    if not named:
        return False
    alone = named[-1] == "--etcd-cluster-init-member" and "," not in given[named[-1]]
    return alone or named[-1] == "--etcd-cluster-init-independent"


def _host(flag: str, address: str) -> str:
    """`http://judicator:2001` is etcd's address; the RPC of the same host is what to ask."""
    address = address.strip()
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname
    except ValueError:
        host = None
    if not host:
        raise Rejected(f"{flag}: a URL such as http://host:2001; {address!r} is not", field=flag)
    return f"[{host}]" if ":" in host else host
