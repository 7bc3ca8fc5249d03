"""What a value asks of this host: the address of an interface, the name of this container."""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
import struct
from urllib.parse import quote

import msgspec
from msgspec import Struct

from khala.model.errors import Rejected

_SIOCGIFADDR = 0x8915
_DOCKER_S = 5.0
_FLAG = "--docker-sock"


class _Container(Struct, frozen=True):
    name: str = msgspec.field(name="Name")


def interface_address(name: str, flag: str) -> str:
    """The IPv4 address of a network interface; raise `Rejected` naming `flag`."""
    if len(name) < 16:  # longer names do not exist, and would not fit into the request
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()))
                return socket.inet_ntoa(answer[20:24])
            except OSError:
                pass
    known = ", ".join(sorted(known for _, known in socket.if_nameindex()))
    raise Rejected(
        f"{flag}: no interface {name} with an IPv4 address; this host has {known}", field=flag
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_DOCKER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_DOCKER_S)
        self.sock.connect(self._path)


def container_name(address: str) -> str:
    """The name of the container this process runs in, as the Docker engine at `address` has it.

    Containers of one network reach each other by these names. Raise `Rejected`.
    """
    path = address.removeprefix("unix://")
    if "://" in path:
        raise Rejected(f"{_FLAG}: only unix:// sockets; {address!r} is not", field=_FLAG)
    identifier = os.uname().nodename
    connection = _UnixConnection(path)
    try:
        connection.request("GET", f"/containers/{quote(identifier, safe='')}/json")
        response = connection.getresponse()
        body = response.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise Rejected(f"{_FLAG}: {path} does not answer: {error}", field=_FLAG) from error
    finally:
        connection.close()
    if response.status != 200:
        raise Rejected(
            f"{_FLAG}: Docker has no container {identifier} (status {response.status}); DOCKER"
            " works only inside a container that kept its host name",
            field=_FLAG,
        )
    try:
        return msgspec.json.decode(body, type=_Container).name.removeprefix("/")
    except msgspec.MsgspecError as error:
        raise Rejected(f"{_FLAG}: {path} is not Docker's: {error}", field=_FLAG) from error
