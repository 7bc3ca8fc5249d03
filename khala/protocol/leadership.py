"""Letting another judicator lead, on an operator's word.

POST /rpc/v1/leadership   Transfer -> Transferred; any judicator may be asked
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.ids import JudicatorName


class Transfer(Struct, frozen=True, kw_only=True):
    #: None: any other than the one that leads.
    to: JudicatorName | None = None


class Transferred(Struct, frozen=True, kw_only=True):
    #: Who leads now; another than was asked for, if that one fell silent after it had agreed.
    leader: JudicatorName
    before: JudicatorName
