"""Secrets: the cluster's, which its processes show each other, and the token of the HTTP API.

Both live in files that nobody else may read; they never appear in arguments, environments or
logs. Comparisons take the same time whatever differs, so that an answer's delay tells nothing.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from khala.model.errors import Rejected, Unavailable

#: Fewer can be guessed by whoever may ask often enough.
SECRET_CHARS_MIN = 16
SECRET_CHARS_MAX = 1024


class SecretFile:
    """A secret on disk, read again whenever it changed: nobody restarts for a new one."""

    def __init__(self, path: Path, *, flag: str) -> None:
        self._path = path
        self._flag = flag
        self._stamp: tuple[int, int, int] | None = None
        self._secret = ""

    def read(self) -> str:
        """Raise `Unavailable` while the file is missing, `Rejected` if it cannot be trusted."""
        try:
            state = os.stat(self._path)
            stamp = (state.st_ino, state.st_mtime_ns, state.st_size)
            if stamp != self._stamp:
                self._secret = self._load(state.st_mode)
                self._stamp = stamp
        except FileNotFoundError as error:
            raise Unavailable(f"{self._flag}: {self._path} does not exist yet") from error
        except (OSError, UnicodeDecodeError) as error:
            raise Rejected(
                f"{self._flag}: {self._path} cannot be read: {error}", field=self._flag
            ) from error
        return self._secret

    def _load(self, mode: int) -> str:
        if mode & 0o077:
            raise Rejected(
                f"{self._flag}: {self._path} has mode {mode & 0o777:04o}, others could read the"
                f" secret; run: chmod 600 {self._path}",
                field=self._flag,
            )
        secret = self._path.read_text("ascii").strip()
        if not SECRET_CHARS_MIN <= len(secret) <= SECRET_CHARS_MAX:
            raise Rejected(
                f"{self._flag}: {self._path} holds {len(secret)} characters, a secret has"
                f" {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX}; try: openssl rand -hex 32",
                field=self._flag,
            )
        return secret


def create_secret(path: Path) -> None:
    """Write a new secret unless there is one; a crash leaves either the whole of it or nothing."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # unlike a rename, it never replaces a secret made meanwhile
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def same(given: str | None, secret: str) -> bool:
    if given is None:
        return False
    # Header bytes that are no text arrive as surrogates; they are simply wrong.
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())
