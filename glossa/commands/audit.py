"""`glossa audit`: who changed what in the registry."""

import re

import click

from ..administration import opened
from ..items import audit_item, moment_text
from ..output import echo_json, echo_table, first_of
from . import options

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 12


@click.command()
@click.option("--subject", metavar="NAME", help="Of an adapter with its versions and aliases, of sw@3, of a key's id.")
@click.option("--actor", metavar="NAME", help="By whom, as the list names them.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@options.server
@options.as_json
def audit(subject: str | None, actor: str | None, limit: int, server: str | None, json_output: bool) -> None:
    """List who changed what, newest first, and from which digest to which."""
    with opened(server) as administration:
        found = first_of(limit, administration.audit(subject=subject, actor=actor))
    if json_output:
        echo_json([audit_item(entry) for entry in found])
        return
    rows = [
        (
            moment_text(entry.at),
            entry.actor,
            entry.action,
            entry.subject,
            (entry.from_digest or "")[:_SHOWN],
            (entry.to_digest or "")[:_SHOWN],
            " ".join(f"{name}={_short(value)}" for name, value in entry.detail.items() if value is not None),
        )
        for entry in found
    ]
    echo_table(("when", "who", "did", "to", "from", "to digest", ""), rows, empty="nothing that fits")


def _short(value: object) -> str:
    text = str(value)
    return text[:_SHOWN] if _DIGEST.fullmatch(text) else text
