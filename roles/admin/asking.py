"""One question to a judicator, asked by an administrator's command, and the note of one that
changes something.

What such a command does is in the audit log as what is done through a gateway is: noted before it
is done, and not done if it cannot be noted. Nobody is named there but the host, since whoever may
read its data directory may do all of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from khala.config.settings import Settings
from khala.model.errors import KhalaError, NotFound, OutcomeUnknown, Rejected
from khala.net.address_book import AddressBook
from khala.net.client import JudicatorClient
from khala.net.statuses import status_of
from khala.pki.node import JUDICATOR
from khala.protocol.access import AuditEntry, AuditKept, AuditOutcome
from khala.supervise.tree import read_trees
from roles.belonging import any_credentials, judicators_of

Answer = TypeVar("Answer")

_DONE = 200


def ask(settings: Settings, question: Callable[[JudicatorClient], Awaitable[Answer]]) -> Answer:
    """The answer of a judicator: of those named, else this host's, else those it joined."""

    async def asking() -> Answer:
        trees = read_trees(Path(settings.data_dir) / "run")
        # Those of this host first; the others know as much when it has just left or is down.
        addresses = [*settings.join, *(tree.rpc for tree in trees if tree.rpc)]
        book = AddressBook([*addresses, *judicators_of(settings, JUDICATOR)])
        client = JudicatorClient(book, any_credentials(settings))
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(asking())


@contextlib.contextmanager
def audited(settings: Settings, act: str, target: str = "", detail: str = "") -> Iterator[None]:
    """Around what asks for a change. Raise what keeping the note raises: then nothing was asked."""
    noted = AuditEntry(
        act=act, target=target, detail=detail, known_by="host", via=socket.gethostname()
    )
    try:
        kept = ask(settings, lambda client: client.ask("POST", "/rpc/v1/audit", noted, AuditKept))
    except NotFound:
        print("khala: this judicator is older than the audit log; not noted there", file=sys.stderr)
        yield
        return
    try:
        yield
    except OutcomeUnknown:
        raise  # which is what an entry without an outcome says
    except KhalaError as error:
        _note_outcome(settings, kept.id, status_of(error))
        raise
    _note_outcome(settings, kept.id, _DONE)


def _note_outcome(settings: Settings, entry: str, status: int) -> None:
    """What was done is done, also if this cannot be noted."""
    with contextlib.suppress(KhalaError):
        ask(settings, lambda client: client.note_outcome(entry, AuditOutcome(status=status)))


def require_certificates(settings: Settings) -> None:
    """Raise `Rejected` in a cluster that others cannot join."""
    identity = any_credentials(settings).identity
    if identity is None:
        raise Rejected(
            f"{settings.data_dir} is not of a cluster with certificates, so nobody can join it; one"
            " is made with khala.pex judicator --init, in an empty --data-dir"
        )
    if identity.role != JUDICATOR:
        raise Rejected(
            f"{settings.data_dir} is of a node of role {identity.role}; run this on a judicator's"
            " host, or give its --data-dir",
            field="--data-dir",
        )
