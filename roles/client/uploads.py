"""`blob uploads` and `blob drop`: what was begun to be sent, and is no blob yet."""

from __future__ import annotations

import click

from khala.client import AsyncKhala
from roles.client import tables
from roles.client.acts import each_of
from roles.client.tables import DOCUMENTS, Form


async def list_uploads(khala: AsyncKhala, form: Form, user: int | None) -> int:
    found = await khala.uploads(user=user)
    if form in DOCUMENTS:
        tables.show_structs(found, form)
    elif form is Form.NAME:
        for each in found:
            click.echo(each.id)
    else:
        rows = [
            [each.id, tables.size(each.offset), tables.size(each.size), each.sha256 or "-"]
            for each in found
        ]
        tables.show_table(["ID", "SENT", "OF", "SHA256"], rows)
    return 0


async def drop_uploads(khala: AsyncKhala, uploads: tuple[str, ...]) -> int:
    async def drop(upload: str) -> str:
        await khala.drop_upload(upload)
        return f"{upload} dropped"

    return await each_of(uploads, drop)
