"""Flag before environment before file before default; what is refused, and in which words."""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.config.settings import Settings
from khala.config.table import BY_KEY, SETTINGS, Setting
from khala.config.values import Kind, Value, parse, show
from khala.model.errors import Rejected
from khala.model.ids import check_name


class Origin(Struct, frozen=True, kw_only=True):
    """A value and where it came from: `--rpc-port`, `KHALA_RPC_PORT`, a file, `default`."""

    value: Value
    source: str


def load(
    flags: Mapping[str, object], environment: Mapping[str, str], config: str | None
) -> tuple[Settings, dict[str, Origin]]:
    """`flags` maps keys to the texts given; raise `Rejected` naming flag, variable or file."""
    files = _read_files(config or environment.get("KHALA_CONFIG"))
    origins: dict[str, Origin] = {}
    for setting in SETTINGS:
        if flags.get(setting.key) is not None:
            origins[setting.key] = _origin(setting, flags[setting.key], setting.flag)
        elif setting.env in environment:
            origins[setting.key] = _origin(setting, environment[setting.env], setting.env)
        elif setting.key in files:
            given, path = files[setting.key]
            origins[setting.key] = _origin(setting, given, f"{path}: {setting.key}")
        else:
            origins[setting.key] = Origin(value=setting.default, source="default")
    _derive(origins)
    settings = msgspec.convert(_nest(origins), Settings)
    _check(settings)
    return settings, origins


def _origin(setting: Setting, given: object, source: str) -> Origin:
    try:
        value = parse(setting.kind, given)
    except ValueError as error:
        raise Rejected(f"{source}: {error}", field=source) from None
    if setting.choices and value not in setting.choices:
        raise Rejected(
            f"{source}: one of {', '.join(setting.choices)}; {value!r} is not", field=source
        )
    for bound, sign in ((setting.minimum, -1), (setting.maximum, 1)):
        if bound is not None and isinstance(value, int | float) and sign * value > sign * bound:
            word = "at least" if sign < 0 else "at most"
            limit = parse(setting.kind, bound) if setting.kind is Kind.SECONDS else int(bound)
            raise Rejected(
                f"{source}: {word} {show(setting.kind, limit)}; {given} was given", field=source
            )
    return Origin(value=value, source=source)


def _read_files(config: str | None) -> dict[str, tuple[object, Path]]:
    """Keys to values; of several files, the last in name order wins."""
    if config is None:
        return {}
    path = Path(config)
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    found: dict[str, tuple[object, Path]] = {}
    for file in files:
        try:
            tree = tomllib.loads(file.read_text())
        except OSError as error:
            raise Rejected(
                f"--config: {file} cannot be read: {error.strerror}", field="--config"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Rejected(f"{file}: not TOML: {error}", field=str(file)) from error
        for key, value in _flatten(tree):
            if key not in BY_KEY:
                near = difflib.get_close_matches(key, BY_KEY, n=1, cutoff=0.4)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise Rejected(f"{file}: there is no setting {key!r}{hint}", field=key)
            found[key] = (value, file)
    return found


def _flatten(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _derive(origins: dict[str, Origin]) -> None:
    """Defaults that follow from other settings."""
    data_dir = os.path.abspath(str(origins["data_dir"].value))
    origins["data_dir"] = Origin(value=data_dir, source=origins["data_dir"].source)
    if origins["secret_file"].value is None:
        origins["secret_file"] = Origin(value=f"{data_dir}/secret", source="default")
    if not origins["join"].value:
        port = origins["rpc.port"].value
        origins["join"] = Origin(value=(f"127.0.0.1:{port}",), source="default")


def _nest(origins: Mapping[str, Origin]) -> dict[str, object]:
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


def _check(settings: Settings) -> None:
    """What no single setting can tell."""
    check_name(settings.name, field="--name")
    if not _is_loopback(settings.bind):
        raise Rejected(
            f"--bind: {settings.bind} is not a loopback address, and links between hosts are not"
            " authenticated yet; use 127.0.0.1",
            field="--bind",
        )
    if not _is_loopback(settings.gateway.bind) and settings.gateway.token_file is None:
        raise Rejected(
            f"--http-bind: {settings.gateway.bind} can be reached from other hosts; give"
            " --token-file too, or use 127.0.0.1",
            field="--http-bind",
        )
    for address in settings.join:
        host, colon, port = address.rpartition(":")
        if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
            raise Rejected(f"--join: host:port; {address!r} is not", field="--join")
    ports = {
        "--etcd-peer-port": settings.etcd.peer_port,
        "--etcd-client-port": settings.etcd.client_port,
        "--mongodb-port": settings.mongodb.port,
        "--rpc-port": settings.rpc.port,
        "--http-port": settings.gateway.port,
    }
    by_port: dict[int, str] = {}
    for flag, number in ports.items():
        if number in by_port:
            raise Rejected(f"{flag}: port {number} is given to {by_port[number]} too", field=flag)
        by_port[number] = flag


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
