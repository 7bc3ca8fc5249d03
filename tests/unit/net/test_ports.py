"""Ports that a program may be killed on and come back to."""

from __future__ import annotations

import socket
from pathlib import Path

from khala.net.ports import free_ports


def test_no_outgoing_connection_will_take_one() -> None:
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert not [port for port in ports if lowest <= port <= highest]


def test_nobody_listens_on_them() -> None:
    for port in free_ports(5):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            listener.listen()
