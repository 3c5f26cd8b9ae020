"""`glossa adapters`: the registry's adapters, on this machine or on a server."""

import click

from .adapter_changes import alias, default, delete, history, restore, unalias
from .adapter_folders import pull, push
from .adapter_listings import evaluations, lineage, list_, show, versions


@click.group()
def adapters() -> None:
    """Adapters: list, show, push and pull folders, move aliases, set defaults, delete and restore."""


for command in (
    list_,
    versions,
    show,
    lineage,
    evaluations,
    push,
    pull,
    alias,
    unalias,
    history,
    default,
    delete,
    restore,
):
    adapters.add_command(command)
