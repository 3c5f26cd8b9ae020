"""`glossa registry`: the tables of the registry's database, and what it holds."""

import click

from registry.database import migrate as migrate_tables
from registry.registry import blob_address
from registry.status import Status, status_of

from ..home import Home, settings_of
from ..output import echo_json, echo_table, size_text
from . import options


@click.group()
def registry() -> None:
    """The registry's database: bring its tables up to date, look what it holds."""


@registry.command()
def migrate() -> None:
    """Make the tables of DATABASE_URL, or bring them up to date with this version."""
    with Home.of(settings_of()).unchecked_registry() as opened:
        before = status_of(opened)
        migrate_tables(opened.database)
        after = status_of(opened)
    if before.is_current:
        click.echo(f"{after.database} is up to date: revision {after.revision}")
    else:
        click.echo(f"{after.database}: from {_revision(before)} to revision {after.revision}")


@registry.command()
@options.as_json
def status(json_output: bool) -> None:
    """Say where the registry is, whether its tables are up to date, and how much it holds."""
    home = Home.of(settings_of())
    with home.unchecked_registry() as opened:
        found = status_of(opened)
    store = blob_address(home.root, home.blob_url)
    if json_output:
        counts = None if found.counts is None else {name.replace(" ", "_"): n for name, n in found.counts.items()}
        echo_json(
            {
                "database": found.database,
                "store": store,
                "revision": found.revision,
                "newest_revision": found.newest,
                "counts": counts,
                "weights_bytes": found.weights_bytes,
            }
        )
        return
    state = "up to date" if found.is_current else f"this version wants {found.newest}: run `glossa registry migrate`"
    rows: list[tuple[str, object]] = [
        ("database", found.database),
        ("blobs", store),
        ("tables", f"{_revision(found)}, {state}"),
        *(found.counts or {}).items(),
    ]
    if found.weights_bytes is not None:
        rows.append(("weights", size_text(found.weights_bytes)))
    echo_table(("what", "value"), rows, empty="")


def _revision(found: Status) -> str:
    return "no tables" if found.revision is None else f"revision {found.revision}"
