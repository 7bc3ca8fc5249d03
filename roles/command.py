"""How one process of Khala starts another: the same program, the same settings, another word."""

from __future__ import annotations

import sys

from khala.config.settings import Settings
from khala.config.table import settings_of
from khala.config.values import Value, show


def run_module(name: str) -> tuple[str, ...]:
    """argv of Python that runs a module of this program, found as this process has found its own.

    Packed, Khala runs isolated from where it is started; a child that was not would import `khala`,
    or whatever it imports first, from a folder of that name in the working directory, as root.
    """
    isolated = ("-I",) if sys.flags.isolated else ()
    return (sys.executable, *isolated, "-m", name)


#: What takes a judicator's settings, and is none.
_OF_JUDICATORS = ("judicator-serve", "backup")


def command(word: str, settings: Settings) -> tuple[str, ...]:
    """argv of a child that runs `word`, or two of them, with the settings of this process.

    Every setting that the role reads is passed explicitly: what a child does must not depend on
    where it would look for a file. Secrets are file names in settings, so none gets into argv.
    """
    words = word.split()
    role = "judicator" if words[0] in _OF_JUDICATORS else word
    argv = [*run_module("khala"), *words]
    for setting in settings_of(role):
        value = _read(settings, setting.key)
        if value is not None and value != () and setting.key != "name":
            argv += [setting.flag, show(setting.kind, value)]
    if word != "judicator-serve":
        argv += ["--name", settings.name]
    return tuple(argv)


def _read(settings: Settings, key: str) -> Value:
    found: object = settings
    for name in key.split("."):
        found = getattr(found, name)
    if found is None or isinstance(found, str | int | float | tuple):
        return found
    raise TypeError(key)
