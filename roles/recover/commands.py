"""`recover` on the command line; the work is in the module beside this one."""

from __future__ import annotations

import sys

import click

from khala.config.options import Command, add_options, settings_from
from khala.model.errors import Rejected


@add_options("judicator")
@click.command("recover", cls=Command, short_help="Go on with one judicator; the rest are lost.")
@click.option(
    "--from-survivor", is_flag=True, help="With the data of this host's judicator, as it is."
)
@click.option(
    "--yes-i-have-lost",
    metavar="CLUSTER",
    help="The id of the cluster whose other judicators never come back; without it, it is shown.",
)
def recover(*, from_survivor: bool, yes_i_have_lost: str | None, **options: object) -> None:
    """Make a cluster of one out of the judicator of this --data-dir, when the majority of the
    judicators is lost for good. Give the judicator's own options.

    \b
      systemctl stop khala-judicator
      khala.pex recover --from-survivor                        says what would be lost
      khala.pex recover --from-survivor --yes-i-have-lost 4f1c...
      systemctl start khala-judicator
      khala.pex token create --role judicator                  for those that join again

    What the majority had acknowledged and this judicator had not got is lost. Refused while another
    judicator answers. Tasks that an executor had run again; the data of the other judicators is
    refused from then on, also if it comes back."""
    if not from_survivor:
        raise Rejected(
            "--from-survivor: missing; it is the only way there is. To go back to a backup instead:"
            " khala.pex backup restore",
            field="--from-survivor",
        )
    from roles.recover.app import run

    sys.exit(run(settings_from("judicator", options).settings, yes_i_have_lost))
