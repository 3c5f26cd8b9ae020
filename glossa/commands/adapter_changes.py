"""`glossa adapters alias`, `unalias`, `history`, `default`, `delete`, `restore`: what points at versions, and whether
they are there, in this machine's registry or a server's.
"""

import click

from registry.references import AdapterRef, parse_reference

from ..items import alias_item, moment_text, move_item
from ..opening import opened
from ..output import echo_json, echo_table
from . import options

_expect = click.option(
    "--expect", type=click.IntRange(min=0), help="Refuse unless the alias is at this revision (0: not there)."
)


@click.command()
@click.argument("reference", metavar="NAME@VERSION")
@click.argument("alias")
@_expect
@options.server
@options.as_json
def alias(reference: str, alias: str, expect: int | None, server: str | None, json_output: bool) -> None:
    """Point ALIAS (such as production) at a version."""
    parsed = parse_reference(reference)
    with opened(server) as catalogue:
        number = parsed.number or catalogue.resolve(parsed).number
        moved = catalogue.move_alias(parsed.name, alias, number, expected=expect)
    if json_output:
        echo_json(alias_item(moved))
    else:
        click.echo(f"{moved.adapter}@{moved.alias} -> {moved.adapter}@{moved.number} (revision {moved.revision})")


@click.command()
@click.argument("reference", metavar="NAME@ALIAS")
@_expect
@options.server
@options.as_json
def unalias(reference: str, expect: int | None, server: str | None, json_output: bool) -> None:
    """Remove an alias; its history stays."""
    name, alias = _aliased(reference)
    with opened(server) as catalogue:
        catalogue.remove_alias(name, alias, expected=expect)
    if json_output:
        echo_json({"name": name, "alias": alias, "version": None})
    else:
        click.echo(f"{name}@{alias} removed")


@click.command()
@click.argument("reference", metavar="NAME@ALIAS")
@options.server
@options.as_json
def history(reference: str, server: str | None, json_output: bool) -> None:
    """List where an alias has pointed, and who moved it when, oldest first."""
    name, alias = _aliased(reference)
    with opened(server) as catalogue:
        moves = catalogue.alias_history(name, alias)
    if json_output:
        echo_json([move_item(move) for move in moves])
        return
    rows = [
        (
            move.revision,
            "removed" if move.number is None else f"{name}@{move.number}",
            move.actor,
            moment_text(move.moved_at),
        )
        for move in moves
    ]
    echo_table(("revision", "to", "by", "at"), rows, empty=f"{name} never had an alias {alias}")


def _aliased(reference: str) -> tuple[str, str]:
    parsed = parse_reference(reference)
    if parsed.alias is None:
        raise click.UsageError(f"{reference!r} names no alias; write NAME@ALIAS")
    return parsed.name, parsed.alias


@click.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.option("--clear", is_flag=True, help="Set none for its language or task any more.")
@options.server
@options.as_json
def default(reference: str, clear: bool, server: str | None, json_output: bool) -> None:
    """Make an adapter what runs for its language or task where a request names none."""
    parsed = parse_reference(reference)
    with opened(server) as catalogue:
        version = catalogue.resolve(parsed)
        if clear:
            catalogue.clear_default(version)
        else:
            catalogue.set_default(parsed, version)
    item: dict[str, str | None] = {"kind": version.kind, "key": version.key, "fingerprint": version.fingerprint}
    if clear:
        text = f"{version.kind} {version.key}: no default any more"
        item |= {"reference": None, "runs": None}
    else:
        text = f"{version.kind} {version.key}: {parsed} (now {version.reference})"
        item |= {"reference": str(parsed), "runs": version.reference}
    if json_output:
        echo_json(item)
    else:
        click.echo(text)


@click.command()
@click.argument("reference", metavar="NAME@VERSION")
@options.server
@options.as_json
def delete(reference: str, server: str | None, json_output: bool) -> None:
    """Delete a version, so that nothing resolves to it; `restore` undoes it until its weights are collected."""
    parsed, number = _numbered(reference)
    with opened(server) as catalogue:
        catalogue.delete(parsed.name, number)
    if json_output:
        echo_json({"reference": str(parsed), "deleted": True})
    else:
        click.echo(f"{parsed} deleted; `glossa adapters restore {parsed}` brings it back until it is collected")


@click.command()
@click.argument("reference", metavar="NAME@VERSION")
@options.server
@options.as_json
def restore(reference: str, server: str | None, json_output: bool) -> None:
    """Bring a deleted version back."""
    parsed, number = _numbered(reference)
    with opened(server) as catalogue:
        catalogue.restore(parsed.name, number)
    if json_output:
        echo_json({"reference": str(parsed), "deleted": False})
    else:
        click.echo(f"{parsed} is there")


def _numbered(reference: str) -> tuple[AdapterRef, int]:
    """Only a number: what an alias names may be another version by the time it is deleted."""
    parsed = parse_reference(reference)
    if parsed.number is None:
        raise click.UsageError(f"{reference!r} names no exact version; write NAME@NUMBER")
    return parsed, parsed.number
