"""Options that a script carries in its first lines.

`#KHALA --time=10m --mem 1GiB`, and those of a script that was written for Slurm. What the command
line says wins, because it was typed later.
"""

from __future__ import annotations

from typing import Any

import click

from khala.model.errors import Rejected
from roles.client.request import directives_of, read_script
from roles.client.sbatch import PREFIX as SBATCH
from roles.client.sbatch import translate

PREFIX = "#KHALA"


def with_directives(command: click.Command, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the command line, over those of a script's own lines; the script is the
    command. Raise `Rejected` naming the prefix of the lines."""
    file, language = options.pop("file"), options.pop("directives")
    if file is None:
        return options
    if options["command"]:
        raise Rejected("-f: give a script file or a command, not both", field="-f")
    script, prefix = read_script(file), PREFIX
    words = directives_of(script, PREFIX)
    if language == "sbatch":
        translated = translate(script)
        script, prefix = translated.script, SBATCH
        words = [*translated.options, *words]
        for note in translated.notes:
            click.echo(note, err=True)
    try:
        carried = command.make_context(prefix, [*words, "--"]).params if words else {}
    except click.UsageError as error:
        hint = "" if command.name == "submit" else "; `submit` takes more of them"
        raise Rejected(f"{prefix}: {error.format_message()}{hint}") from error
    merged = {
        name: carried.get(name, value) if _is_absent(value) else value
        for name, value in options.items()
    }
    return {**merged, "command": (script,)}


def _is_absent(value: object) -> bool:
    """As click gives an option that was not; the number 0 was."""
    return value is None or value is False or value == ()
