"""`glossa keys`: who may use a server, and for what."""

from datetime import UTC, datetime

import click

from registry.access import ROLES, Key, Role

from ..administration import opened
from ..items import key_item, moment_text
from ..output import echo_json, echo_table
from . import options


@click.group()
def keys() -> None:
    """API keys: make, list and revoke them."""


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="Each may do what those before it may.")
@click.option("--names", "pattern", metavar="PATTERN", help="Which adapters it may write, like 'sw-*'. [default: all]")
@click.option("--days", type=click.IntRange(1, 36_500), help="How long it is valid. [default: until it is revoked]")
@options.server
@options.as_json
def create(name: str, role: Role, pattern: str | None, days: int | None, server: str | None, json_output: bool) -> None:
    """Make a key and print it, this once. NAME says whose it is; the audit shows it."""
    with opened(server) as administration:
        key, secret = administration.create_key(name, role, pattern=pattern, valid_days=days)
    if json_output:
        echo_json(key_item(key) | {"key": secret})
        return
    click.echo(secret)
    click.echo(
        f"made key {key.id} with the role {key.role}; it cannot be shown again. Clients send it as GLOSSA_API_KEY",
        err=True,
    )


@keys.command("list")
@options.server
@options.as_json
def list_(server: str | None, json_output: bool) -> None:
    """List all keys, revoked ones too, newest first."""
    with opened(server) as administration:
        found = list(administration.keys())
    if json_output:
        echo_json([key_item(key) for key in found])
        return
    rows = [
        (
            key.id,
            key.name,
            key.role,
            key.pattern,
            key.created_by,
            moment_text(key.created_at),
            "" if key.last_used_at is None else moment_text(key.last_used_at),
            _state(key),
        )
        for key in found
    ]
    columns = ("id", "name", "role", "names", "made by", "made", "last used", "")
    echo_table(columns, rows, empty="no keys; make one with `glossa keys create NAME --role write`")


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return f"revoked {moment_text(key.revoked_at)}"
    if key.expires_at is None:
        return ""
    return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'until'} {moment_text(key.expires_at)}"


@keys.command()
@click.argument("key_ids", metavar="ID...", nargs=-1, required=True)
@options.server
def revoke(key_ids: tuple[str, ...], server: str | None) -> None:
    """Revoke keys, for ever. Running servers follow within seconds."""
    with opened(server) as administration:
        for key_id in key_ids:
            administration.revoke_key(key_id)
            click.echo(f"revoked {key_id}")
