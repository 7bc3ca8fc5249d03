"""`cluster members | remove | transfer-leader` and `leave`."""

from __future__ import annotations

import sys
import time

import msgspec

from khala.config.settings import Settings
from khala.model.errors import KhalaError, Unavailable
from khala.model.ids import JudicatorName
from khala.model.limits import TRANSFER_S
from khala.pki.node import JUDICATOR
from khala.protocol.leadership import Transfer, Transferred
from khala.protocol.members import Roster
from roles.admin.asking import ask, audited, require_certificates
from roles.belonging import any_credentials
from roles.lines import show_table
from roles.operators import tell_transferred

_MEMBERS = "/rpc/v1/members"
_EMPTY = Roster(members=[])
#: A member is taken out in a few rounds of the leader; an election may lie between.
_REMOVAL_S = 90.0
#: On top of what a judicator takes at most to let another one lead.
_ANSWER_S = 5.0


def show(settings: Settings, *, as_json: bool) -> int:
    require_certificates(settings)
    roster = _roster(settings)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(roster), indent=2).decode())
    else:
        _print(roster)
    return 0


def remove(settings: Settings, name: str) -> int:
    """Return when it is out. Raise `Unavailable` if that takes too long; it goes on then."""
    require_certificates(settings)
    path = f"{_MEMBERS}/{name}"
    with audited(settings, "cluster.remove", name):
        ask(settings, lambda client: client.ask("DELETE", path, _EMPTY, Roster))
    print(f"khala: {name} is leaving ...", file=sys.stderr, flush=True)
    deadline = time.monotonic() + _REMOVAL_S
    while time.monotonic() < deadline:
        try:
            roster = _roster(settings)
        except KhalaError:
            # Whom we ask may be the one that has just left; the others know.
            time.sleep(1.0)
            continue
        if all(each.member.name != name for each in roster.members):
            _print(roster)
            return 0
        time.sleep(0.5)
    raise Unavailable(f"{name} is still leaving; see khala.pex cluster members")


def transfer(settings: Settings, to: str | None) -> int:
    """Return when another one leads. Raise `Unavailable` if it is another one than `to`."""
    asked = Transfer(to=None if to is None else JudicatorName(to))
    with audited(settings, "cluster.transfer_leadership", to or ""):
        moved = ask(
            settings,
            lambda client: client.ask(
                "POST", "/rpc/v1/leadership", asked, Transferred, within_s=TRANSFER_S + _ANSWER_S
            ),
        )
    tell_transferred(moved, to)
    return 0


def leave(settings: Settings) -> int:
    require_certificates(settings)
    identity = any_credentials(settings).identity
    name = identity.certificate.name if identity and identity.role == JUDICATOR else settings.name
    return remove(settings, name)


def _roster(settings: Settings) -> Roster:
    return ask(settings, lambda client: client.ask("GET", _MEMBERS, None, Roster))


def _print(roster: Roster) -> None:
    rows = [
        [each.member.name, each.member.rpc, each.member.standing, each.etcd, each.mongodb]
        for each in roster.members
    ]
    show_table(["NAME", "RPC", "STANDING", "ETCD", "MONGODB"], rows)
    for note in roster.notes:
        print(note)
