"""Connections to MongoDB, with every option that a promise rests on spelled out.

MongoDB's defaults lose acknowledged writes on a failover; here a write is acknowledged only when
a majority has it in its journal, and a read sees only what a majority has. A default inherited
from a URI or a driver release would silently change that.

Changes of batches go through `change` as plain commands: measured with pymongo 4.20 on this kind
of machine, a command of 100 updates costs 6 to 10 us of processor time per update against 13 us
of `bulk_write`; alone, both cost about 0.3 ms. A plain command is never repeated by the driver
behind our back. It need not be: our statements can be repeated, and the committer, who knows the
deadline and the items, does it. Single statements use the driver's methods, which repeat
themselves until their deadline (`timeoutMS` with `retryWrites`) and are deduplicated by the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from msgspec import Struct
from pymongo import AsyncMongoClient, pool_shared
from pymongo.asynchronous import pool, topology
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.lock import Condition
from pymongo.network_layer import PyMongoProtocol
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.limits import STORE_TIMEOUT_S
from khala.store.codec import Database, Document
from khala.store.failures import AUTHENTICATION_CODES, changing, reading

DATABASE = "khala"
_MAJORITY = {"w": "majority", "j": True}
#: The host does not resolve to the member itself, for one.
_INVALID_CONFIG = 93


class MongoTls(Struct, frozen=True, kw_only=True):
    """Files: the node's key and certificate, and the authority it believes."""

    node: str
    authority: str


class MongoSettings(Struct, frozen=True, kw_only=True):
    """Where MongoDB is and how to log in. `uri` (an operator's own deployment) stands alone."""

    hosts: tuple[str, ...] = ()
    replica_set: str = "khala"
    #: Content of the bundled members' key file: they accept it as the internal user's password.
    key: str | None = None
    tls: MongoTls | None = None
    uri: str | None = None


class _Protocol(PyMongoProtocol):
    """One connection, which is over when it is closed.

    The driver waits for its event loop to say so, without a deadline, and uvloop does not say it
    of every TLS connection that broke: the operation that closes it would hang, and whatever
    waits for that operation.
    """

    def close(self, exc: Exception | None = None) -> None:
        super().close(exc)
        self.connection_lost(exc)


# The driver has no place to say which protocol its connections speak.
pool_shared.PyMongoProtocol = _Protocol  # type: ignore[attr-defined]


async def _wait(condition: Condition, timeout_s: float | None) -> bool:
    """What the driver waits with for a free connection, and for news of the set.

    Its own way, `asyncio.wait_for`, has a task of its own wait until Python 3.12. Who is cancelled
    when that wait's time is over, or is cancelled twice, leaves this task behind, and it takes the
    lock that the condition belongs to and never gives it back: every operation of the client, and
    whatever waits for one, would stand until the process is killed.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await condition.wait()
    except TimeoutError:
        return False


for _module in (pool, topology):
    _module._async_cond_wait = _wait  # type: ignore[attr-defined]


def connect(settings: MongoSettings) -> AsyncMongoClient[Document]:
    """A client that connects lazily and belongs to the running event loop. Close it there."""
    timeout_ms = round(STORE_TIMEOUT_S * 1000)
    options: Document = {
        "w": "majority",
        "journal": True,
        "readConcernLevel": "majority",
        "readPreference": "primary",
        "retryWrites": True,
        "retryReads": True,
        "timeoutMS": timeout_ms,
        "serverSelectionTimeoutMS": 3000,
        "connectTimeoutMS": 2000,
        "heartbeatFrequencyMS": 1000,
        "maxPoolSize": 16,
        "minPoolSize": 2,
        "appname": "khala-judicator",
        "tz_aware": True,
    }
    if settings.uri is not None:
        return AsyncMongoClient(settings.uri, **options)
    options["replicaSet"] = settings.replica_set
    options |= _login(settings)
    return AsyncMongoClient(list(settings.hosts), **options)


def _login(settings: MongoSettings) -> Document:
    options: Document = {}
    if settings.tls is not None:
        options |= {
            "tls": True,
            "tlsCertificateKeyFile": settings.tls.node,
            "tlsCAFile": settings.tls.authority,
        }
    if settings.key is None:
        return options
    return options | {
        "username": "__system",
        "password": "".join(settings.key.split()),
        "authSource": "local",
        "authMechanism": "SCRAM-SHA-256",
    }


def database_of(client: AsyncMongoClient[Document]) -> Database:
    """Repeats the concerns, because a URI's options win over the client's."""
    return client.get_database(
        DATABASE,
        write_concern=WriteConcern(w="majority", j=True),
        read_concern=ReadConcern("majority"),
    )


async def change(database: Database, command: Document) -> Document:
    """Run an unordered insert, update or delete command; errors of single items are in the reply.

    Raise `OutcomeUnknown` also when the write is done but not on a majority: it may be rolled back.
    """
    with changing():
        reply = await database.command({**command, "ordered": False, "writeConcern": _MAJORITY})
    concern = reply.get("writeConcernError")
    if concern is not None:
        raise OutcomeUnknown(
            f"MongoDB has not confirmed the write on a majority: {concern.get('errmsg')}"
        )
    return reply


def use_renewed_certificate(database: Database, tls: MongoTls) -> None:
    """New connections of this client show what is in the file now. The driver has no word for it,
    and a client made anew would lose the writes that are under way."""
    context = database.client.options.pool_options._ssl_context
    if context is not None:
        context.load_cert_chain(tls.node)


async def rotate_certificate(settings: MongoSettings) -> None:
    """Let the mongod at the first of the hosts read its certificate again. Raise `Unavailable`."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        settings.hosts[0],
        directConnection=True,
        timeoutMS=round(STORE_TIMEOUT_S * 1000),
        **_login(settings),
    )
    try:
        with reading():
            await client.admin.command("rotateCertificates")
    finally:
        await client.close()


async def ensure_replica_set(
    settings: MongoSettings, *, initiate: bool = True, deadline_s: float = 60.0
) -> None:
    """Make the mongod at the first of the hosts a set of one member, if `initiate`; if it belongs
    to a set, leave it so.

    Return when the set has a writable primary (as seen by this member). Raise `Unavailable` when
    that takes longer than `deadline_s`, and at once when the member belongs to another set or does
    not accept the key.
    """
    host = settings.hosts[0]
    deadline = time.monotonic() + deadline_s
    # Not by the driver: cancelled while it connects, as by `close`, it leaves sockets behind.
    while not await _listens(host):
        await _pause(host, deadline, "does not listen")
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        host,
        directConnection=True,
        serverSelectionTimeoutMS=500,
        socketTimeoutMS=5000,
        retryReads=False,
        **_login(settings),
    )
    try:
        while not await _has_primary(client, settings, initiate=initiate):
            await _pause(host, deadline, "has found no primary")
    finally:
        await client.close()


async def _pause(host: str, deadline: float, fault: str) -> None:
    if time.monotonic() > deadline:
        raise Unavailable(
            f"the MongoDB member {host} {fault} in time; see its log in the data directory"
        )
    await asyncio.sleep(0.05)


async def _listens(host: str) -> bool:
    name, _, port = host.rpartition(":")
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(name.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _has_primary(
    client: AsyncMongoClient[Document], settings: MongoSettings, *, initiate: bool
) -> bool:
    """One step: look, and initiate the set if there is none yet."""
    host, name = settings.hosts[0], settings.replica_set
    try:
        hello = await client.admin.command("hello")
        member_of = hello.get("setName")
        if member_of is None:
            if initiate:
                await _initiate(client, host, name)
            return False
        if member_of != name:
            raise Unavailable(
                f"the MongoDB member {host} belongs to the set {member_of!r}, not to {name!r}"
            )
        return bool(hello.get("primary"))
    except OperationFailure as error:
        if error.code in AUTHENTICATION_CODES:
            raise Unavailable(
                f"the MongoDB member {host} does not accept this node's key"
            ) from error
        return False
    except PyMongoError:
        return False  # still starting


async def _initiate(client: AsyncMongoClient[Document], host: str, name: str) -> None:
    config: Document = {
        "_id": name,
        "members": [{"_id": 0, "host": host}],
        "writeConcernMajorityJournalDefault": True,
        "settings": {"electionTimeoutMillis": 5000, "heartbeatIntervalMillis": 1000},
    }
    try:
        await client.admin.command({"replSetInitiate": config})
    except OperationFailure as error:
        # Starting members and those that another process initiates meanwhile are looked at again.
        if error.code == _INVALID_CONFIG:
            raise Unavailable(f"the replica set cannot be initiated: {error}") from error
        if error.code in AUTHENTICATION_CODES:
            raise
