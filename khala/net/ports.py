"""Ports for a Khala that is started for a while: a benchmark's, a test's.

A port is looked for before the program that listens on it exists, and that program may be killed
and come back to it. Between those moments the port is nobody's. One out of the range from which the
kernel serves outgoing connections can be taken meanwhile by any of them, even by the very client
that asks again and again whether the program is back: a connection to a port that nobody listens
on, made from that same port, meets itself and holds it.
"""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

#: Below it live the services that people know by their number.
_LOWEST = 10_000
_LOOPBACK = "127.0.0.1"
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOOKS_PER_PORT = 200


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that nobody listens on now and no outgoing connection will use.

    Raises OSError if there are none.
    """
    lowest_outgoing = int(_OUTGOING.read_text().split()[0])
    if lowest_outgoing <= _LOWEST + count:
        raise OSError(f"{_OUTGOING} begins at {lowest_outgoing}: raise it above {_LOWEST + count}")
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for _ in range(count * _LOOKS_PER_PORT):
            port = random.randrange(_LOWEST, lowest_outgoing)
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind((_LOOPBACK, port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"no {count} free ports of {_LOOPBACK} from {_LOWEST} to {lowest_outgoing - 1}")
