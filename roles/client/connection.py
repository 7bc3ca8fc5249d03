"""Which gateway, and by what right; and what this account submitted there last."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.limits import CANCEL_BY_CHARS
from khala.net.secrets import SecretFile
from roles.client.contexts import Contexts

URL_DEFAULT = "http://127.0.0.1:7000"
#: Ids remembered for `last`, `last~1`, ...
REMEMBERED = 100


class Connection(Struct, frozen=True, kw_only=True):
    url: str
    token: str | None
    #: Where ids of submitted tasks are remembered, one file per account.
    history_path: Path

    def remember(self, task: str) -> None:
        """Best effort: without a home directory there is no `last`, and nothing else is missing."""
        history = _load(self.history_path)
        history[self.url] = [*history.get(self.url, []), task][-REMEMBERED:]
        try:
            self.history_path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.history_path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(history))
            draft.rename(self.history_path)
        except OSError:
            return

    def last(self, back: int) -> str:
        """The id submitted `back` submissions before the last one."""
        known = _load(self.history_path).get(self.url, [])
        if back >= len(known):
            raise Rejected(
                f"last~{back}: this account has submitted {len(known)} tasks to {self.url} that are"
                " still remembered; give an id, or see `ls`"
                if back
                else f"last: this account has submitted no task to {self.url} yet; give an id, or"
                " see `ls`",
                field="last",
            )
        return known[-1 - back]


def connection_of(url: str | None, token_file: str | None, context: str | None) -> Connection:
    """From options, environment and contexts, in this order. Raises Rejected for a token file or a
    context that cannot be used."""
    known = Contexts.read()
    chosen = known.named(context) if context else None if url else known.current_one
    if chosen is not None:
        if url is not None and url.rstrip("/") != chosen.url:
            raise Rejected(
                f"--url {url} and --context {context} name two gateways; give one of them",
                field="--context",
            )
        url, token_file = chosen.url, token_file or chosen.token_file
    token = SecretFile(Path(token_file), flag="--token-file").read() if token_file else None
    return Connection(
        url=(url or URL_DEFAULT).rstrip("/"),
        token=token,
        history_path=history_path(),
    )


def remembered_tasks() -> list[str]:
    """All that this account submitted lately, wherever to; the newest of each gateway first."""
    known = _load(history_path())
    return [task for tasks in known.values() for task in reversed(tasks)]


def login_name() -> str:
    """Of whoever gives the command; empty where the system knows no name for them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return ""
    return name[:CANCEL_BY_CHARS] if name.isprintable() else ""


def history_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "khala" / "submitted.json"


def _load(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(url): [str(task) for task in tasks]
        for url, tasks in found.items()
        if isinstance(tasks, list)
    }
