"""One question to a judicator, asked by an administrator's command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from khala.config.settings import Settings
from khala.model.errors import Rejected
from khala.net.address_book import AddressBook
from khala.net.client import JudicatorClient
from khala.pki.node import JUDICATOR
from khala.supervise.tree import read_trees
from roles.belonging import any_credentials, judicators_of

Answer = TypeVar("Answer")


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
