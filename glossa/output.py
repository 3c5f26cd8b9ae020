"""What commands print: aligned tables for people, one JSON document for programs."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import click

from madx.errors import GlossaError

Item = TypeVar("Item")


def echo_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def echo_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Columns padded to their widest cell; `empty` is what is said instead of a table without rows."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def first_of(limit: int | None, found: Iterator[Item]) -> list[Item]:
    """At most `limit`, or all; says on stderr where that is not all there is."""
    items = list(islice(found, limit))
    if limit is not None and next(found, None) is not None:
        click.echo("there are more; --limit says how many are listed", err=True)
    return items


def size_text(size_bytes: int) -> str:
    if size_bytes < 1 << 20:
        return f"{size_bytes / (1 << 10):.0f} KiB"
    return f"{size_bytes / (1 << 20):.1f} MiB"


def error_line(error: GlossaError) -> str:
    """The one line a user gets."""
    return "error: " + " ".join(str(error).split())


def scores_text(metrics: Mapping[str, Any]) -> str:
    """A version's metrics in one line, the run's size last."""
    sizes = ("best_step", "steps", "tokens", "minutes")
    scores = [f"{name} {value:.3f}" for name, value in metrics.items() if name not in sizes]
    return ", ".join([*scores, *(f"{name} {metrics[name]:g}" for name in ("steps", "minutes") if name in metrics)])
