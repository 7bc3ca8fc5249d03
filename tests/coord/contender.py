"""A judicator that does nothing but contend, as a process: `ENDPOINT CLUSTER NAME FILE`.

Each line of the file is one look at its own term: seconds of the host's monotonic clock, and the
term or `-`. Terms are the time in nanoseconds, so they grow over all processes of the host.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

import uvloop

from khala.coordination.etcd_rpc import EtcdRpc
from khala.coordination.membership import Entry, Identity, Membership
from khala.model.ids import Incarnation, JudicatorName, Term

LOOK_S = 0.01


async def take_term() -> Term:
    return Term(time.monotonic_ns())


async def main(endpoint: str, cluster: str, name: str, looks: str) -> None:
    etcd = EtcdRpc((endpoint,))
    entry = Entry(address=f"{name}:4000", incarnation=Incarnation(f"{name}-process"))
    identity = Identity(cluster=cluster, name=JudicatorName(name), entry=entry)
    membership = Membership(etcd, identity, take_term)
    running = asyncio.create_task(membership.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with open(looks, "w", buffering=1) as file:
        while not running.done():
            term = membership.term()
            file.write(f"{time.monotonic()} {'-' if term is None else term}\n")
            await asyncio.sleep(LOOK_S)
    await asyncio.gather(running, return_exceptions=True)
    await etcd.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
