"""What a replica-set member knows of its set, changed while it belongs to none.

A member whose majority is gone is for ever a secondary: no running server lets it decide, and a
forced change of the configuration asks the very server that waits for the others. So the member is
started alone, outside any set, and its own documents are rewritten. Its data is not touched here:
started alone it shows the state of its last checkpoint, and what is newer is in the operations log,
which is applied when it is a member again.

Both numbers jump. A member of before that comes back meets a configuration and a term that are
newer than any it can have, finds itself in neither, and takes no part.
"""

from __future__ import annotations

from datetime import datetime

from bson import Int64
from msgspec import Struct

from khala.model.errors import Rejected
from khala.store.codec import Database, Document
from khala.store.failures import changing, reading

#: More than a set can have gone through that this member has not heard of.
_JUMP = 1_000_000


class Survivor(Struct, frozen=True, kw_only=True):
    """A member and how far its data goes; None if it has no operations."""

    replica_set: str
    newest: datetime | None


async def make_only_member(database: Database, host: str) -> Survivor:
    """Let the member at `host` be the only one of its set. `database` is of a mongod that was
    started alone on that member's data. Repeatable. Raise `Rejected` where the data is of no use.
    """
    local = database.client.get_database("local")
    with reading():
        config = await local["system.replset"].find_one({})
        last = await local["oplog.rs"].find_one({}, sort=[("$natural", -1)])
    config = config or {"_id": "", "version": 0, "members": []}
    changed = {**config, "members": [_own(config, host)], "version": config["version"] + _JUMP}
    with changing():
        await local["system.replset"].replace_one({"_id": config["_id"]}, changed)
        await local["replset.election"].update_one({}, {"$inc": {"term": Int64(_JUMP)}})
    return Survivor(replica_set=str(config["_id"]), newest=last["wall"] if last else None)


def _own(config: Document, host: str) -> Document:
    members: list[Document] = config["members"]
    own = next((each for each in members if each["host"] == host), None)
    if own is None:
        known = ", ".join(each["host"] for each in members) or "none"
        raise Rejected(
            f"--data-dir: this MongoDB's set has the members {known}, and {host} is none of them;"
            " give the judicator's own --advertise and --mongodb-port"
        )
    if not own.get("votes", 1):
        raise Rejected(
            f"--data-dir: {host} had no vote yet, because its copy of the data was not complete;"
            " recover from another judicator, or restore a backup"
        )
    return {**own, "votes": 1, "priority": 1}
