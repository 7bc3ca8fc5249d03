"""The table of settings as options of a command, and what was given back into settings.

KV2's flags are options too, hidden ones, so that they are parsed like all others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import click
from msgspec import Struct

from khala.config import kv2
from khala.config.load import Given, Origins, load
from khala.config.setting import Setting
from khala.config.settings import Settings
from khala.config.table import BY_KEY, SECTIONS, settings_of
from khala.config.values import Kind, show
from khala.model.errors import Rejected

_SECTION_OF = {each.key: title for title, section in SECTIONS.items() for each in section}


class Result(Struct, frozen=True, kw_only=True):
    settings: Settings
    origins: Origins
    #: To be told to the user, one line each.
    notes: list[str]
    #: KV2's way to make a cluster was given.
    founds: bool = False


class Command(click.Command):
    """A command whose help groups options as the table does, and that knows KV2's `clean`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] == ["clean"]:
            raise Rejected(
                "clean: Khala never deletes data by itself; to begin anew, stop it and remove its"
                " --data-dir, or give an empty one"
            )
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                key = _key(option.name or "")
                sections.setdefault(_SECTION_OF.get(key, "Command"), []).append(record)
        for title in ("Command", *SECTIONS):
            if title in sections:
                with formatter.section(title):
                    formatter.write_dl(sections[title])


def add_options(role: str) -> Callable[[click.Command], click.Command]:
    """Give a command the options of `role`, in the table's order."""

    def add(command: click.Command) -> click.Command:
        command.params.append(
            click.Option(
                ["--config", "config_path"],
                metavar="FILE",
                help="TOML file, or directory of them.  [env: KHALA_CONFIG]",
            )
        )
        settings = settings_of(role)
        taken = {each.flag for each in settings}
        command.params += [_option(each, taken) for each in settings]
        command.params += [
            click.Option([each.flag, _kv2_name(each.flag)], is_flag=each.switch, hidden=True)
            for each in kv2.flags_of(role)
        ]
        return command

    return add


def settings_from(role: str, options: Mapping[str, object]) -> Result:
    """What was given, with the environment and files; raise `Rejected`."""
    flags = {
        key: Given(value=options[_name(key)], flag=setting.flag)
        for key, setting in BY_KEY.items()
        if _was_given(options.get(_name(key)))
    }
    old = {
        each.flag: str(options[_kv2_name(each.flag)])
        for each in kv2.flags_of(role)
        if _was_given(options.get(_kv2_name(each.flag)))
    }
    translation = kv2.translate(role, old, flags, os.environ)
    config = options.get("config_path")
    settings, origins = load(
        role, translation.flags, os.environ, None if config is None else str(config)
    )
    return Result(
        settings=settings,
        origins=origins,
        notes=translation.notes,
        founds=translation.founds,
    )


def _option(setting: Setting, taken: set[str]) -> click.Option:
    default = setting.default_text or show(setting.kind, setting.default)
    hint = " Comma-separated, or the option several times." if setting.kind is Kind.LIST else ""
    names = [setting.flag, _name(setting.key)]
    if setting.alias and setting.alias not in taken:
        names.insert(1, setting.alias)
    text = setting.help + hint + (f"  [default: {default}]" if default else "")
    if setting.kind is Kind.SWITCH:
        # Alone, it is a yes.
        return click.Option(names, metavar="[yes|no]", is_flag=False, flag_value="yes", help=text)
    metavar = "|".join(setting.choices) or setting.kind.upper()
    return click.Option(names, metavar=metavar, multiple=setting.kind is Kind.LIST, help=text)


def _was_given(value: object) -> bool:
    """An option that takes several values is an empty tuple without any; a switch is false."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return len(value) > 0
    return value is not None and value is not False


def _name(key: str) -> str:
    return key.replace(".", "__")


def _key(name: str) -> str:
    return name.replace("__", ".")


def _kv2_name(flag: str) -> str:
    return "kv2_" + flag.removeprefix("--").replace("-", "_")
