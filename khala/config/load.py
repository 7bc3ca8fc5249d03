"""Flag before environment before file before default; what is refused, and in which words.

Nothing is ignored in silence: an unknown key in a file is an error that names the nearest key, and
every refusal names the flag, variable or file at fault, the limit and the value given. An empty
environment variable counts as unset, because that is how unit files and containers clear one.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.config.quotas import quotas_of
from khala.config.setting import ALL, G, J, Setting
from khala.config.settings import EVERYWHERE, Settings
from khala.config.table import BY_KEY, MAXIMUM_OF, SETTINGS
from khala.config.values import Kind, Value, escape_item, parse, show
from khala.model.errors import Rejected
from khala.model.ids import check_name
from khala.model.quota import ToldQuota
from khala.model.spec import Network

#: Variables of the same prefix that are no settings; see `strays`.
OTHER_VARIABLES = ("KHALA_CONFIG", "KHALA_DEBUG", "KHALA_URL")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
_HOST_ALONE = re.compile(r"[^:\[\]]+\Z|\[[^\[\]]+\]\Z")
#: What listens, by role; these must not meet on one address.
_LISTENERS = (
    ("etcd.peer_port", J),
    ("etcd.client_port", J),
    ("mongodb.port", J),
    ("rpc.port", J),
    ("gateway.port", G),
)


class Given(Struct, frozen=True, kw_only=True):
    """A value on the command line, and the flag to blame for it."""

    value: object
    flag: str


class Origin(Struct, frozen=True, kw_only=True):
    """A value and where it came from: `--rpc-port`, `KHALA_RPC_PORT`, a file, `default`."""

    value: Value
    source: str


Origins = dict[str, Origin]


def load(
    role: str, flags: Mapping[str, Given], environment: Mapping[str, str], config: str | None
) -> tuple[Settings, Origins]:
    """Settings for `role`; `flags` is by key, `config` a file or directory.

    Raise `Rejected` naming the flag, the variable or the file at fault.
    """
    origins: Origins = {}
    files = _read_files(config, environment)
    for setting in SETTINGS:
        key = setting.key
        if key in flags:
            origins[key] = _origin(setting, flags[key].value, flags[key].flag)
        elif environment.get(setting.env):
            origins[key] = _origin(setting, environment[setting.env], setting.env)
        elif key in files:
            given, path = files[key]
            origins[key] = _origin(setting, given, f"{path}: {key}")
        else:
            origins[key] = Origin(value=setting.default, source="default")
    _derive(origins)
    _check(role, origins)
    return msgspec.convert(_nest(origins), Settings), origins


def strays(environment: Mapping[str, str]) -> list[str]:
    """One sentence for each `KHALA_` variable that sets nothing.

    Only a warning: orchestrators make variables of that prefix for a service called khala.
    """
    known = [*(setting.env for setting in SETTINGS), *OTHER_VARIABLES]
    found = [name for name in environment if name.startswith("KHALA_") and name not in known]
    return [f"{name} is not a setting{_nearest(name, known)}" for name in sorted(found)]


def _nearest(text: str, names: list[str]) -> str:
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else ""


def _origin(setting: Setting, given: object, source: str) -> Origin:
    if setting.auto and given == "auto":
        return Origin(value=setting.default, source=source)
    try:
        value = parse(setting.kind, given)
    except ValueError as error:
        raise Rejected(f"{source}: {error}", field=source) from None
    if setting.choices and value not in setting.choices:
        raise Rejected(
            f"{source}: one of {', '.join(setting.choices)}; {value!r} is not", field=source
        )
    if isinstance(value, int | float):
        low, high = setting.minimum, setting.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise Rejected(f"{source}: {limits_of(setting)}; {given} was given", field=source)
    return Origin(value=value, source=source)


def limits_of(setting: Setting) -> str:
    """`from 1 to 1024`, in the setting's unit; empty without limits."""
    parts = [
        f"{word} {show(setting.kind, int(limit) if setting.kind is not Kind.NUMBER else limit)}"
        for word, limit in (("from", setting.minimum), ("to", setting.maximum))
        if limit is not None
    ]
    return " ".join(parts)


def _read_files(
    config: str | None, environment: Mapping[str, str]
) -> dict[str, tuple[object, Path]]:
    """Keys to values; of several files, the last in name order wins."""
    source = "--config" if config else "KHALA_CONFIG"
    config = config or environment.get("KHALA_CONFIG")
    if not config:
        return {}
    path = Path(config)
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        raise Rejected(f"{source}: {path} is a directory without *.toml files", field=source)
    found: dict[str, tuple[object, Path]] = {}
    for file in files:
        for key, value in _flatten(_read_file(file, source)):
            if key not in BY_KEY:
                hint = _nearest(key, list(BY_KEY))
                raise Rejected(f"{file}: there is no setting {key!r}{hint}", field=key)
            found[key] = (value, file)
    return found


def _read_file(file: Path, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise Rejected(
            f"{source}: {file} cannot be read: {error.strerror}", field=source
        ) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise Rejected(f"{file}: not a TOML file: {error}", field=str(file)) from error


def _flatten(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        setting = BY_KEY.get(f"{prefix}{name}")
        if isinstance(value, dict) and setting is not None and setting.table:
            yield setting.key, [escape_item(f"{key}={each}") for key, each in value.items()]
        elif isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _derive(origins: Origins) -> None:
    """Values that follow from others, and other spellings of a value."""

    def put(key: str, value: Value) -> None:
        origins[key] = Origin(value=value, source=origins[key].source)

    if origins["bind"].value == "localhost":
        put("bind", "127.0.0.1")  # etcd listens on addresses, not on names
    advertise = origins["advertise"].value
    if isinstance(advertise, str) and not is_loopback(advertise):
        if origins["bind"].source == "default":
            put("bind", EVERYWHERE)
    if origins["secret_file"].value is None:
        put("secret_file", f"{origins['data_dir'].value}/secret")
    join, port = origins["join"].value, origins["rpc.port"].value
    if isinstance(join, tuple) and join:
        put("join", tuple(f"{each}:{port}" if _HOST_ALONE.match(each) else each for each in join))
    for key, maximum_key in MAXIMUM_OF.items():
        default, maximum = origins[key].value, origins[maximum_key]
        if maximum.source == "default" and _number(default) > _number(maximum.value):
            put(maximum_key, default)


def _number(value: Value) -> float:
    return value if isinstance(value, int | float) else 0.0


def _nest(origins: Origins) -> dict[str, object]:
    tree: dict[str, object] = {}
    for key, origin in origins.items():
        section, dot, name = key.partition(".")
        if not dot:
            tree[key] = origin.value
            continue
        branch = tree.setdefault(section, {})
        if isinstance(branch, dict):
            branch[name] = origin.value
    return tree


def _check(role: str, origins: Origins) -> None:
    """What no setting can tell alone."""
    for key in ("name", "mongodb.replica_set"):
        check_name(str(origins[key].value), field=_blame(origins, key))
    _check_addresses(origins)
    _check_openness(origins)
    _check_network(role, origins)
    _check_join(origins)
    _check_maxima(origins)
    _check_quotas(origins)
    _check_ports(role, origins)


def _asks_nothing(origins: Origins) -> bool:
    """The gateway lets in who shows no token, at least while there are no users."""
    keyed = origins["gateway.token_file"].value is not None or origins["gateway.users_only"].value
    return not keyed


def _check_openness(origins: Origins) -> None:
    """What is open is open to this host alone."""
    http = str(origins["gateway.bind"].value)
    if is_loopback(http):
        return
    if _asks_nothing(origins):
        blame = _blame(origins, "gateway.bind")
        raise Rejected(
            f"{blame}: {http} can be reached from other hosts; give --token-file or --users-only"
            " too, or use 127.0.0.1",
            field=blame,
        )
    if origins["gateway.legacy_api"].value == "open":
        blame = _blame(origins, "gateway.legacy_api")
        raise Rejected(
            f"{blame}: open lets in whoever reaches {http}, which can be reached from other hosts;"
            " use --http-bind 127.0.0.1, or auto",
            field=blame,
        )


def _check_network(role: str, origins: Origins) -> None:
    """Of all roles together: tasks with the host's network reach its gateway."""
    asks_nothing = _asks_nothing(origins) or origins["gateway.legacy_api"].value == "open"
    if role not in ALL and asks_nothing and origins["executor.allow_network"].value == Network.FULL:
        blame = _blame(origins, "executor.allow_network")
        raise Rejected(
            f"{blame}: tasks with this host's network could ask its gateway for anything, in"
            " anybody's name; give --token-file or --users-only too, and no --legacy-api open",
            field=blame,
        )


def _check_addresses(origins: Origins) -> None:
    """etcd listens on addresses and not on names; others reach this host by either."""
    bind, advertise = str(origins["bind"].value), origins["advertise"].value
    try:
        ipaddress.IPv4Address(bind)
    except ValueError:
        blame = _blame(origins, "bind")
        raise Rejected(f"{blame}: an IPv4 address; {bind!r} is not", field=blame) from None
    if advertise is not None and not _HOST.match(str(advertise)):
        blame = _blame(origins, "advertise")
        raise Rejected(
            f"{blame}: a host name or an IPv4 address, without a port; {advertise!r} is not",
            field=blame,
        )
    if advertise in (None, EVERYWHERE) and bind == EVERYWHERE:
        blame = _blame(origins, "bind")
        raise Rejected(
            f"{blame}: {bind} is every address of this host; say with --advertise by which one the"
            " others reach it",
            field=blame,
        )


def _check_join(origins: Origins) -> None:
    join = origins["join"].value
    for address in join if isinstance(join, tuple) else ():
        host, _, port = address.rpartition(":")
        good = port.isdecimal() and port.isascii() and len(port) < 6 and 0 < int(port) < 65536
        if not (good and _HOST_ALONE.match(host)):
            blame = _blame(origins, "join")
            raise Rejected(
                f"{blame}: host:port with a port from 1 to 65535; {address!r} is not", field=blame
            )


def _check_maxima(origins: Origins) -> None:
    """A stage that names no limit must not get more than one that does."""
    for key, maximum_key in MAXIMUM_OF.items():
        default, maximum = origins[key].value, origins[maximum_key].value
        if _number(default) > _number(maximum):
            blame, kind = _blame(origins, maximum_key), BY_KEY[key].kind
            raise Rejected(
                f"{blame}: {show(kind, maximum)} is less than what stages get that ask for"
                f" nothing; raise it, or lower {_blame(origins, key)} ({show(kind, default)})",
                field=blame,
            )


def _check_quotas(origins: Origins) -> None:
    users = origins["quota.users"]
    if users.source != "default" and isinstance(users.value, tuple):
        try:
            quotas_of(ToldQuota(), users.value)
        except Rejected as error:
            blame = _blame(origins, "quota.users")
            raise Rejected(f"{blame}: {error.message}", field=blame) from None


def _check_ports(role: str, origins: Origins) -> None:
    """A role is refused for its own ports only; what another one listens on may be elsewhere."""
    by_port: dict[Value, str] = {}
    for key, owner in _LISTENERS:
        if role in ALL and role != owner:
            continue
        port = origins[key].value
        if port in by_port:
            blame, other = _blame(origins, key), _blame(origins, by_port[port])
            raise Rejected(f"{blame}: port {port} is given to {other} too", field=blame)
        by_port[port] = key


def _blame(origins: Origins, key: str) -> str:
    source = origins[key].source
    return BY_KEY[key].flag if source == "default" else source


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
