"""Backups by HTTP. Each is on the disk of one judicator, so all of them are asked.

The archive holds everything that any user stored, and the hashes of their secrets: administrators
alone get it. A judicator that cannot be asked is named, because a list that silently lacks a backup
is read as its loss.
"""

from __future__ import annotations

import asyncio
import re

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import KhalaError, NotFound, NotPossible, Unavailable
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import backups as rpc
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from roles.gateway.artifacts import pass_on
from roles.gateway.cluster import Cluster
from roles.gateway.documents import parse_document
from roles.gateway.filters import NodeName
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.ranges import parse_range

_ALL, _RPC = "/api/v2/backups", "/rpc/v1/backups"
_ONE = f"{_ALL}/<backup:str>"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_TAR = "application/x-tar"
_ID = re.compile(r"[0-9a-f]{16}")
#: For the list, of each judicator.
_ASK_S = 5.0
_ACT = (ProblemCode.NOT_FOUND, ProblemCode.NOT_POSSIBLE)


class BackupSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a backup is to be taken."""

    #: By its name among the nodes; null: one that does not lead, if there is one.
    judicator: NodeName | None = None


_specs = msgspec.json.Decoder(BackupSpec)


class _Found(Struct, frozen=True):
    """What all judicators have, and where."""

    items: list[tuple[rpc.Backup, str]]
    unreachable: list[str]


class BackupRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and whom they ask."""

    client: JudicatorClient
    cluster: Cluster

    @declare(
        Operation(
            method="GET",
            path=_ALL,
            tag="Backups",
            answers={200: Answer(v2.Backups)},
            problems=(ProblemCode.FORBIDDEN,),
            role=Role.OPERATOR,
        )
    )
    async def list_backups(self, _: Request) -> HTTPResponse:
        """The backups that judicators keep, the latest first."""
        found = await self._find()
        items = sorted((each for each, _ in found.items), key=lambda each: each.created_at)
        shown = [_view(each) for each in reversed(items)]
        return _json(v2.Backups(items=shown, unreachable=found.unreachable))

    @declare(
        Operation(
            method="POST",
            path=_ALL,
            tag="Backups",
            request={JSON: BackupSpec},
            body_optional=True,
            answers={202: Answer(v2.Backup, headers=("Location",))},
            problems=(*_ACT, ProblemCode.VALIDATION_FAILED),
            role=Role.OPERATOR,
            act="backup.create",
        )
    )
    async def create_backup(self, request: Request) -> HTTPResponse:
        """Let a judicator save everything, and restore it into a scratch MongoDB to see that it can
        be. Tasks go on. One at a time on a judicator; it keeps as many as `--backups-kept` says,
        and the oldest goes when one more is there."""
        try:
            given = parse_document(_specs, request.body) if request.body else BackupSpec()
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        address = await self._address(given.judicator)
        made = await self.client.ask_at(address, "POST", _RPC, rpc.Backup)
        return _json(_view(made), status=202, location=f"{_ALL}/{made.id}")

    @declare(
        Operation(
            method="GET",
            path=_ONE,
            tag="Backups",
            answers={200: Answer(v2.Backup)},
            problems=(ProblemCode.NOT_FOUND, ProblemCode.FORBIDDEN),
            role=Role.OPERATOR,
        )
    )
    async def get_backup(self, _: Request, backup: str) -> HTTPResponse:
        """One backup, and how far it is."""
        found, _address = await self._find_one(backup)
        return _json(_view(found))

    @declare(
        Operation(
            method="POST",
            path=f"{_ONE}/verify",
            tag="Backups",
            answers={202: Answer(v2.Backup, headers=("Location",))},
            problems=_ACT,
            role=Role.OPERATOR,
            act="backup.verify",
        )
    )
    async def verify_backup(self, _: Request, backup: str) -> HTTPResponse:
        """Restore it into a scratch MongoDB, count it and read every task, once more."""
        _found, address = await self._find_one(backup)
        path = f"{_RPC}/{backup}/verify"
        tried = await self.client.ask_at(address, "POST", path, rpc.Backup)
        return _json(_view(tried), status=202, location=f"{_ALL}/{backup}")

    @declare(
        Operation(
            method="DELETE",
            path=_ONE,
            tag="Backups",
            answers={204: Answer(content="")},
            problems=_ACT,
            role=Role.OPERATOR,
            act="backup.delete",
        )
    )
    async def delete_backup(self, _: Request, backup: str) -> HTTPResponse:
        """Remove a backup that is not being taken or tried."""
        _found, address = await self._find_one(backup)
        await self.client.ask_at(address, "DELETE", f"{_RPC}/{backup}", rpc.Backup)
        return HTTPResponse(None, status=204, headers=_HEADERS)

    @declare(
        Operation(
            method="GET",
            path=f"{_ONE}/archive",
            tag="Backups",
            headers=("Range", "If-Range"),
            answers={
                200: Answer(content=_TAR, headers=("ETag", "Content-Disposition")),
                206: Answer(content=_TAR, headers=("ETag", "Content-Range")),
                416: Answer(content="", headers=("Content-Range",)),
            },
            problems=(*_ACT, ProblemCode.FORBIDDEN),
            role=Role.ADMIN,
            act="backup.download",
        )
    )
    async def download_backup(self, request: Request, backup: str) -> HTTPResponse | None:
        """The archive, or a part of it: whoever reads it reads every task. `khala.pex backup
        restore` makes a new cluster out of it."""
        found, address = await self._find_one(backup)
        if found.state is not rpc.BackupState.DONE:
            raise NotPossible(f"backup {backup} is {found.state}, there is nothing to read")
        whole, etag = range(found.size_bytes), f'"{backup}"'
        same = request.headers.get("if-range", etag) == etag
        wanted = parse_range(request.headers.get("range"), whole) if same else whole
        headers = {
            **_HEADERS,
            "Content-Disposition": f'attachment; filename="khala-{backup}.tar"',
            "ETag": etag,
            "Accept-Ranges": "bytes",
        }
        if wanted is None:
            headers["Content-Range"] = f"bytes */{len(whole)}"
            return HTTPResponse(None, status=416, headers=headers)
        headers["Content-Length"] = str(len(wanted))
        status = 200 if len(wanted) == len(whole) else 206
        if status == 206:
            headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(whole)}"
        if request.method == "HEAD":
            return HTTPResponse(None, status=status, headers=headers, content_type=_TAR)
        opened = self.client.open_backup(address, backup, wanted)
        await pass_on(request, status, headers, opened, content_type=_TAR)
        return None

    async def _find(self) -> _Found:
        seen = await self.cluster.view()
        records = [each.record for each in seen.judicators]
        answers = await asyncio.gather(*(self._list_of(each.address) for each in records))
        silent = [each.name for each, items in zip(records, answers, strict=True) if items is None]
        return _Found(
            [
                (backup, each.address)
                for each, items in zip(records, answers, strict=True)
                for backup in items or ()
            ],
            sorted({*silent, *seen.missing}),
        )

    async def _list_of(self, address: str) -> list[rpc.Backup] | None:
        try:
            found = await self.client.ask_at(address, "GET", _RPC, rpc.Backups, within_s=_ASK_S)
        except NotFound:
            return []  # of an older version, which takes none
        except KhalaError:
            return None
        return found.items

    async def _find_one(self, backup: str) -> tuple[rpc.Backup, str]:
        """And the address of the judicator that has it."""
        unknown = NotFound(f"there is no backup {backup[:40]!r}; {_ALL} lists them")
        if not _ID.fullmatch(backup):
            raise unknown
        found = await self._find()
        for each, address in found.items:
            if each.id == backup:
                return each, address
        if found.unreachable:
            silent = ", ".join(found.unreachable)
            raise Unavailable(f"backup {backup} may be on {silent}, which cannot be asked just now")
        raise unknown

    async def _address(self, name: str | None) -> str:
        """Where one is to be taken."""
        seen = await self.cluster.view()
        if name is None:
            fit = [each for each in seen.judicators if each.serving] or seen.judicators
            chosen = min(fit, key=lambda each: (each.record.leader, each.record.name), default=None)
        else:
            chosen = next((each for each in seen.judicators if each.record.name == name), None)
        if chosen is not None:
            return chosen.record.address
        if name is None or name in seen.missing:
            raise Unavailable(f"judicator {name or ''} cannot be asked just now; name another one")
        there = ", ".join(each.record.name for each in seen.judicators)
        raise NotFound(f"there is no judicator {name!r}; there are: {there}")


def _view(backup: rpc.Backup) -> v2.Backup:
    return v2.Backup(
        id=backup.id,
        judicator=backup.judicator,
        state=backup.state,
        created_at=backup.created_at,
        finished_at=backup.finished_at,
        size_bytes=backup.size_bytes,
        tasks=backup.tasks,
        blobs=backup.blobs,
        verified_at=backup.verified_at,
        verifying=backup.verifying,
        error=backup.error or None,
    )


def _json(body: Struct, *, status: int = 200, location: str | None = None) -> HTTPResponse:
    headers = _HEADERS if location is None else {**_HEADERS, "Location": location}
    return HTTPResponse(v2.encode(body), status=status, headers=headers, content_type=JSON)
