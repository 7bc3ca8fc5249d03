"""Gateways by name, so that nobody types a URL twice: `$XDG_CONFIG_HOME/khala/client.toml`.

    current = "lab"

    [contexts.lab]
    url = "http://gateway.lab:7000"
    token_file = "/home/ann/.khala/lab.token"

A token belongs to its gateway: that of a context goes to the URL of the same context and nowhere
else. The file holds the name of the token's file, never the token.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from khala.model.errors import NotFound, Rejected

CONTEXTS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class Context(Struct, frozen=True, kw_only=True, omit_defaults=True):
    url: str
    token_file: str | None = None


class Contexts(Struct, frozen=True, kw_only=True):
    """All that are known, and the one in use unless another is named."""

    current: str | None = None
    contexts: dict[str, Context] = {}

    @classmethod
    def read(cls) -> Self:
        """Raises Rejected for a file that cannot be understood: to go on without it would send a
        task somewhere else than its author meant."""
        path = _path()
        try:
            found = msgspec.convert(tomllib.loads(path.read_text()), cls)
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as e:
            raise Rejected(f"{path}: {e}; repair or remove it", field="--context") from e
        if found.current is not None and found.current not in found.contexts:
            raise Rejected(
                f"{path}: current is {found.current!r}, which is none of its contexts; choose one"
                " with `context use NAME`",
                field="--context",
            )
        return found

    @property
    def current_one(self) -> Context | None:
        return None if self.current is None else self.contexts[self.current]

    def named(self, name: str) -> Context:
        try:
            return self.contexts[name]
        except KeyError:
            known = ", ".join(sorted(self.contexts)) or "none"
            raise NotFound(
                f"there is no context {name!r}; known are: {known}. `context set {name} --url URL`"
                " makes it",
            ) from None

    def with_one(self, name: str, context: Context) -> Contexts:
        """The first one made is in use at once."""
        if not _NAME.match(name):
            raise Rejected(
                f"a context's name is 1 to 64 letters, digits, dots, - or _, {name[:80]!r} was"
                " given"
            )
        if name not in self.contexts and len(self.contexts) >= CONTEXTS:
            raise Rejected(f"there are {CONTEXTS} contexts, which is the limit; remove one")
        return Contexts(
            current=self.current or name, contexts={**self.contexts, name: _checked(context)}
        )

    def using(self, name: str) -> Contexts:
        self.named(name)
        return Contexts(current=name, contexts=self.contexts)

    def without(self, name: str) -> Contexts:
        self.named(name)
        left = {each: context for each, context in self.contexts.items() if each != name}
        return Contexts(current=None if name == self.current else self.current, contexts=left)

    def write(self) -> None:
        """As a whole or not at all, readable by its owner only."""
        path = _path()
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(self._toml())
            draft.rename(path)
        except OSError as error:
            raise Rejected(f"{path} cannot be written: {error.strerror}") from error

    def _toml(self) -> str:
        # A JSON string is a basic string of TOML as well.
        lines = [] if self.current is None else [f"current = {json.dumps(self.current)}"]
        for name, context in sorted(self.contexts.items()):
            lines += ["", f"[contexts.{json.dumps(name)}]"]
            for key, value in msgspec.to_builtins(context).items():
                lines.append(f"{key} = {json.dumps(value)}")
        return "\n".join(lines).lstrip() + "\n"


def _checked(context: Context) -> Context:
    parts = urlsplit(context.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise Rejected(
            f"--url: http://HOST:PORT or https://HOST:PORT is expected, {context.url[:200]!r} was"
            " given",
            field="--url",
        )
    token_file = context.token_file
    return Context(
        url=context.url.rstrip("/"),
        token_file=None if token_file is None else os.path.abspath(token_file),
    )


def folder() -> Path:
    """Where this account's settings are."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home) / "khala"


def _path() -> Path:
    return folder() / "client.toml"
