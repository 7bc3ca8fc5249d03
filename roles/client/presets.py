"""`preset`: named beginnings of tasks, kept by the cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from khala.client import AsyncKhala
from khala.client.request import Json
from khala.model.decoding import refusal
from khala.model.errors import NotFound, Rejected
from khala.protocol.v2 import Preset
from roles.client import tables
from roles.client.tables import Form


async def list_presets(khala: AsyncKhala, form: Form) -> int:
    found = await khala.presets()
    if form in tables.DOCUMENTS:
        tables.show_structs(found, form)
        return 0
    if form is Form.NAME:
        for each in found:
            click.echo(each.name)
        return 0
    tables.show_table(["NAME", "DESCRIPTION"], [[each.name, each.description] for each in found])
    return 0


async def show_preset(khala: AsyncKhala, name: str) -> int:
    """As `put` takes it."""
    found = next((each for each in await khala.presets() if each.name == name), None)
    if found is None:
        raise NotFound(f"there is no preset {name!r}; khala.pex preset ls shows them")
    _print_document(found)
    return 0


async def put_preset(khala: AsyncKhala, name: str, file: str, description: str) -> int:
    made = await khala.put_preset(name, _read(file), description=description)
    click.echo(made.name)
    return 0


async def remove_preset(khala: AsyncKhala, name: str) -> int:
    """What it said is printed: that is the way back."""
    _print_document(await khala.remove_preset(name))
    return 0


def _print_document(preset: Preset) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(preset.task), indent=2).decode())


def _read(file: str) -> Json:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        found: Json = msgspec.json.decode(text, type=dict[str, object])
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"-f: {file} cannot be read: {error}", field="-f") from error
    except msgspec.DecodeError as error:
        why = refusal(error, text)
        raise Rejected(f"-f: {file} holds no JSON object: {why}", field="-f") from error
    return found
