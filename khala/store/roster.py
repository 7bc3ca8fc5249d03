"""The judicators of the cluster as MongoDB knows them: their documents, and the replica set.

The documents say who should be a member; the replica set's configuration says who is. A change of
the configuration is one member's, is never forced, and is refused by the server unless the one
before is committed: two leaders at once can at worst do the same step twice.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct
from pymongo.errors import DuplicateKeyError, PyMongoError

from khala.model.dates import utc_now
from khala.model.errors import NotFound, Rejected, Unavailable
from khala.protocol.members import Member, Standing
from khala.store.codec import Database, Document
from khala.store.failures import changing, reading
from khala.store.schema import JUDICATORS

_SECONDARY, _PRIMARY = "SECONDARY", "PRIMARY"


class Replica(Struct, frozen=True, kw_only=True):
    """A member of the replica set. `state` is MongoDB's word, `behind_s` is None if unknown."""

    host: str
    votes: int
    state: str
    healthy: bool
    behind_s: float | None

    @property
    def holds_data(self) -> bool:
        return self.healthy and self.state in {_PRIMARY, _SECONDARY}

    @property
    def is_primary(self) -> bool:
        return self.state == _PRIMARY


class MongoRoster:
    def __init__(self, database: Database) -> None:
        self._members = database[JUDICATORS]
        self._admin = database.client.admin

    # ---- who should be ----------------------------------------------------------------------

    async def enter(self, member: Member) -> None:
        """Precondition: nobody of this name is known, or it is the same. Raise `Rejected`."""
        document = {**msgspec.to_builtins(member), "_id": member.name, "joined_at": utc_now()}
        del document["name"]
        with changing():
            try:
                await self._members.insert_one(document)
            except DuplicateKeyError:
                pass
            else:
                return
        known = await self.find(member.name)
        if known is not None and _parts(known) != _parts(member):
            raise Rejected(
                f"--name: the cluster has a judicator {member.name} already, at {known.rpc}; give"
                " this one another --name, or take that one out first: khala.pex cluster remove"
                f" {member.name}",
                field="--name",
            )

    async def find(self, name: str) -> Member | None:
        with reading():
            document = await self._members.find_one({"_id": name})
        return None if document is None else _member(document)

    async def all(self) -> list[Member]:
        """In the order in which they came."""
        with reading():
            documents = await self._members.find().sort([("joined_at", 1), ("_id", 1)]).to_list()
        return [_member(document) for document in documents]

    async def settle(self, name: str) -> None:
        """Precondition: it is joining. It is a member now."""
        with changing():
            await self._members.update_one(
                {"_id": name, "standing": Standing.JOINING.value},
                {"$set": {"standing": Standing.MEMBER.value}},
            )

    async def begin_leaving(self, name: str) -> None:
        """Raise `NotFound` if there is none of this name."""
        with changing():
            result = await self._members.update_one(
                {"_id": name}, {"$set": {"standing": Standing.LEAVING.value}}
            )
        if not result.matched_count:
            raise NotFound(f"there is no judicator {name[:80]!r}; see khala.pex cluster members")

    async def forget(self, name: str) -> None:
        """Precondition: it is leaving."""
        with changing():
            await self._members.delete_one({"_id": name, "standing": Standing.LEAVING.value})

    # ---- who is -----------------------------------------------------------------------------

    async def replicas(self) -> list[Replica]:
        with reading():
            config = (await self._admin.command("replSetGetConfig"))["config"]
            status = await self._admin.command("replSetGetStatus")
        states = {each["name"]: each for each in status["members"]}
        dates = [each["optimeDate"] for each in states.values() if each.get("optimeDate")]
        newest = max(dates, default=None)
        return [_replica(each, states.get(each["host"]), newest) for each in config["members"]]

    async def add_replica(self, host: str) -> None:
        """Without a vote and never to be primary, until it has the data."""

        def change(members: list[Document]) -> None:
            number = max(each["_id"] for each in members) + 1
            members.append({"_id": number, "host": host, "votes": 0, "priority": 0})

        await self._reconfigure(change)

    async def give_vote(self, host: str) -> None:
        def change(members: list[Document]) -> None:
            for each in members:
                if each["host"] == host:
                    each |= {"votes": 1, "priority": 1}

        await self._reconfigure(change)

    async def remove_replica(self, host: str) -> None:
        def change(members: list[Document]) -> None:
            members[:] = [each for each in members if each["host"] != host]

        await self._reconfigure(change)

    async def step_down(self) -> None:
        """Let another member be primary; the connection that asks is closed by it."""
        with reading():
            await self._admin.command("replSetStepDown", 60)

    async def _reconfigure(self, change: Callable[[list[Document]], None]) -> None:
        """One change, on top of what is configured now. Raise `Unavailable` if it was not done, or
        nobody knows: the caller looks again."""
        try:
            config = (await self._admin.command("replSetGetConfig"))["config"]
            change(config["members"])
            config["version"] += 1
            config.pop("term", None)
            await self._admin.command("replSetReconfig", config)
        except PyMongoError as error:
            raise Unavailable(f"the replica set was not changed now: {str(error)[:300]}") from error


def _parts(member: Member) -> tuple[str, ...]:
    return member.rpc, member.mongodb, member.etcd_client, member.etcd_peer


def _member(document: Document) -> Member:
    return msgspec.convert({**document, "name": document["_id"]}, Member)


def _replica(config: Document, state: Document | None, newest: object) -> Replica:
    healthy = state is not None and state.get("health") == 1
    # Of one that is not reached it is the beginning of time.
    at = state.get("optimeDate") if state and healthy else None
    behind = (newest - at).total_seconds() if at and newest else None
    return Replica(
        host=config["host"],
        votes=int(config.get("votes", 1)),
        state=str(state["stateStr"]) if state else "UNKNOWN",
        healthy=healthy,
        behind_s=behind,
    )
