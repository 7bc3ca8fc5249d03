"""`user create | ls | set | rm` and `pat create | ls | revoke`."""

from __future__ import annotations

import sys
from urllib.parse import quote

from khala.config.settings import Settings
from khala.model.access import AccessToken, User
from khala.protocol.access import (
    ChangeUser,
    MakePat,
    MakeUser,
    NewPat,
    PatList,
    PatMade,
    UserList,
    UserMade,
)
from roles.admin.asking import ask, audited
from roles.lines import date, plain, show_table

_USERS, _PATS = "/rpc/v1/users", "/rpc/v1/pats"


# ---- users --------------------------------------------------------------------------------------


def create_user(settings: Settings, wanted: MakeUser) -> int:
    """The token alone on stdout, so that it can go into a file or a pipe; the rest on stderr."""
    how = f"role={wanted.role}" + (" with a token" if wanted.pat else "")
    with audited(settings, "user.create", wanted.name, how):
        made = ask(settings, lambda client: client.ask("POST", _USERS, wanted, UserMade))
    user = made.user
    _say(f"{user.name} is a user with role {user.role} and number {user.number}.")
    if made.secret is None or made.pat is None:
        _say(f"It has no token yet: khala.pex pat create {user.name} --name NAME")
        return 0
    _hand_over(made.secret, made.pat)
    return 0


def list_users(settings: Settings) -> int:
    found = ask(settings, lambda client: client.ask("GET", _USERS, None, UserList))
    if not found.users:
        _say(
            "there are no users, so no gateway asks who anybody is; the first one:"
            " khala.pex user create NAME --role admin"
        )
    _print_users(found.users)
    return 0


def change_user(settings: Settings, name: str, change: ChangeUser) -> int:
    words = [] if change.role is None else [f"role={change.role}"]
    if change.disabled is not None:
        words.append("disabled" if change.disabled else "enabled")
    with audited(settings, "user.change", name, " ".join(words)):
        user = ask(settings, lambda client: client.ask("PATCH", _user(name), change, User))
    _print_users([user])
    return 0


def remove_user(settings: Settings, name: str) -> int:
    with audited(settings, "user.delete", name):
        ask(settings, lambda client: client.ask("DELETE", _user(name), None, UserList))
    _say(f"{name} is gone, and so are its tokens and sessions; its tasks stay.")
    return 0


# ---- personal tokens ----------------------------------------------------------------------------


def create_pat(settings: Settings, user: str, wanted: NewPat) -> int:
    """The token alone on stdout, as of `create_user`."""
    request = MakePat(user=user, pat=wanted)
    how = f"{wanted.name} ttl={wanted.ttl_s:g}s"
    with audited(settings, "token.create", user, how):
        made = ask(settings, lambda client: client.ask("POST", _PATS, request, PatMade))
    _hand_over(made.secret, made.pat)
    return 0


def list_pats(settings: Settings, user: str | None) -> int:
    found = ask(settings, lambda client: client.ask("GET", _of(user), None, PatList))
    _print_pats(found.pats)
    if found.more:
        _say("there are older ones; khala.pex pat ls USER shows those of a user")
    return 0


def revoke_pat(settings: Settings, user: str, token: str) -> int:
    path = _of(user, f"/{quote(token, safe='')}")
    with audited(settings, "token.delete", token, user):
        left = ask(settings, lambda client: client.ask("DELETE", path, None, PatList))
    _print_pats(left.pats)
    return 0


def _hand_over(secret: str, pat: AccessToken) -> None:
    print(secret, flush=True)
    _say(
        f"This is the token {pat.id} ({plain(pat.name)}, role {pat.role}) of {pat.user}, until"
        f" {date(pat.expires_at)}. It is shown this once; its holder keeps it with khala.pex login."
    )


def _user(name: str) -> str:
    return f"{_USERS}/{quote(name, safe='')}"


def _of(user: str | None, path: str = "") -> str:
    return f"{_PATS}{path}" + (f"?user={quote(user, safe='')}" if user is not None else "")


def _print_users(users: list[User]) -> None:
    rows = [
        [
            each.name,
            str(each.number),
            each.role.value,
            "disabled" if each.disabled else "yes",
            date(each.created_at),
        ]
        for each in users
    ]
    show_table(["NAME", "NUMBER", "ROLE", "LET IN", "SINCE"], rows)


def _print_pats(pats: list[AccessToken]) -> None:
    rows = [
        [
            each.id,
            each.user,
            plain(each.name),
            each.role.value,
            "never" if each.used_at is None else date(each.used_at),
            date(each.expires_at),
        ]
        for each in pats
    ]
    show_table(["ID", "USER", "NAME", "ROLE", "USED", "UNTIL"], rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
