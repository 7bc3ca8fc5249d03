"""Bounds of who may ask: identities, users, their tokens and tickets, and what is noted of them.

As in `khala.model.limits`, with what happens at each.
"""

from __future__ import annotations

#: A gateway believes for so long who a token stands for, and that one is unknown; the first bounds
#: how long a revoked token goes on.
IDENTITY_BELIEVED_S = 5.0
IDENTITY_UNKNOWN_S = 1.0
#: While no judicator answers, they are asked again so often, and what was believed is for so long.
IDENTITY_RETRY_S = 1.0
IDENTITY_STALE_S = 60.0
#: Tokens and sessions that one gateway remembers, those that turned out to be unknown, and those
#: that it looks up at a time without knowing them; beyond that requests are told to come again.
IDENTITIES_KNOWN = 16_384
IDENTITIES_UNKNOWN = 4096
IDENTITY_GUESSES = 32
#: Callers whose requests one gateway counts, and addresses; the one that was silent longest is
#: forgotten, and may send a burst again.
CALLERS_COUNTED = 16_384

#: Users, and of each the tokens and the sessions; beyond those the oldest session ends.
USERS = 10_000
USER_NAME_CHARS = 64
USER_NUMBER_MAX = 2**31 - 1
USER_TOKENS = 64
USER_SESSIONS = 64
#: Of all users' tokens, the latest in one answer.
TOKENS_LISTED = 1000
#: How long a ticket is good for its one request, and of one token or session (or of all who have
#: neither) those that wait for theirs; beyond those the oldest one goes.
TICKET_LIFE_S = 60.0
TICKETS = 64
ACCESS_TOKEN_NAME_CHARS = 64
ACCESS_TOKEN_LIFE_MIN_S = 60.0
ACCESS_TOKEN_LIFE_MAX_S = 366 * 86_400.0
#: Where nothing else is asked for.
ACCESS_TOKEN_LIFE_S = 90 * 86_400.0
#: Entries of the audit log, and the texts of one.
AUDIT_ENTRIES = 1_000_000
AUDIT_TARGET_CHARS = 200
AUDIT_DETAIL_CHARS = 500
AUDIT_PAGE_MAX = 500
#: Of refusals, a gateway notes one of each user and act in so long, and remembers so many of them.
AUDIT_REFUSALS_S = 60.0
AUDIT_REFUSALS = 4096
