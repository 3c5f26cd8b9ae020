"""`glossa gc` and `glossa fsck`: on the registry itself, wherever DATABASE_URL and GLOSSA_BLOB_URL say that it is."""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NoReturn

import click

from registry.collect import Report as Collection
from registry.collect import collect
from registry.fsck import Report as Checked
from registry.fsck import fsck as check
from registry.fsck_rows import Finding
from registry.stores import Blob

from ..home import Home, settings_of
from ..output import echo_json, size_text
from . import options

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MOST_SHOWN = 20


def _span(context: click.Context, parameter: click.Parameter, value: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no time; write 90s, 30m, 24h or 7d", context, parameter)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@click.command()
@click.option("--delete", is_flag=True, help="Do it. Without this, only say what would be done.")
@click.option(
    "--grace",
    metavar="TIME",
    callback=_span,
    default="24h",
    show_default=True,
    help="How long weights are kept after their version was deleted, and again after no version was found to name "
    "them: 90s, 30m, 24h, 7d.",
)
@options.as_json
def gc(delete: bool, grace: timedelta, json_output: bool) -> None:
    """Collect weights that no version names, and what crashes left behind. A rehearsal unless --delete is given."""
    with Home.of(settings_of()).registry() as registry:
        report = collect(registry, grace=grace, delete=delete)
    if json_output:
        echo_json(_collection_item(report))
    else:
        _echo_collection(report)


def _echo_collection(report: Collection) -> None:
    would = "would be " if report.dry else ""
    _echo_items(f"deleted versions, weights {would}given up", report.purged)
    _echo_items(f"blobs {would}deleted", _blob_texts(report.collected))
    _echo_items(f"blobs without a version {would}marked, for a later run to delete", _blob_texts(report.marked))
    _echo_items("blobs marked by an earlier run, not long enough ago", _blob_texts(report.waiting))
    files = [f"{leftover.name}  {size_text(leftover.size_bytes)}" for leftover in report.leftovers]
    _echo_items(f"left by crashes, {would}removed", files)
    uploads = [f"{upload.id}  {size_text(upload.received_bytes)}" for upload in report.uploads]
    _echo_items(f"expired uploads, {would}removed", uploads)
    click.echo(f"{size_text(report.freed_bytes)} {would}freed")
    if report.dry:
        click.echo("nothing was changed: this was a rehearsal; `glossa gc --delete` does it")


def _echo_items(title: str, items: Sequence[str]) -> None:
    if not items:
        return
    click.echo(f"{len(items)} {title}:")
    for item in items[:_MOST_SHOWN]:
        click.echo(f"  {item}")
    if len(items) > _MOST_SHOWN:
        click.echo(f"  and {len(items) - _MOST_SHOWN} more (--json lists all)")


def _blob_texts(blobs: Iterable[Blob]) -> list[str]:
    return [f"{blob.digest}  {size_text(blob.size_bytes)}" for blob in blobs]


def _collection_item(report: Collection) -> dict[str, object]:
    def items(blobs: Iterable[Blob]) -> list[dict[str, object]]:
        return [{"digest": blob.digest, "size_bytes": blob.size_bytes} for blob in blobs]

    return {
        "dry": report.dry,
        "grace_s": report.grace.total_seconds(),
        "purged": report.purged,
        "collected": items(report.collected),
        "marked": items(report.marked),
        "waiting": items(report.waiting),
        "leftovers": [{"name": item.name, "size_bytes": item.size_bytes} for item in report.leftovers],
        "uploads": [{"id": upload.id, "received_bytes": upload.received_bytes} for upload in report.uploads],
        "leases": report.leases,
        "replies": report.replies,
        "freed_bytes": report.freed_bytes,
    }


@click.command()
@click.option("--repair", is_flag=True, help="Make again what can be made again; no version's weights are touched.")
@click.option("--quick", is_flag=True, help="Measure the weights, but do not read them.")
@options.as_json
def fsck(repair: bool, quick: bool, json_output: bool) -> None:
    """Check that every version has its weights, every blob its digest, and every change its history."""
    with Home.of(settings_of()).registry() as registry:
        report = check(registry, quick=quick, repair=repair)
    if json_output:
        echo_json(_checked_item(report))
    else:
        _echo_checked(report)
    if not report.is_sound:
        _fail()


def _fail() -> NoReturn:
    """The report has said why."""
    raise click.exceptions.Exit(1)


def _echo_checked(report: Checked) -> None:
    for finding in report.findings:
        click.echo(f"{_state(finding)}: {finding.code} {finding.subject}: {finding.message}")
    click.echo(
        f"{report.num_versions} versions, {report.num_blobs} blobs, {size_text(report.hashed_bytes)} read back: "
        + (f"{len(report.broken)} faults" if report.broken else "nothing is broken")
    )


def _state(finding: Finding) -> str:
    if finding.is_repaired:
        return "repaired"
    return "broken" if finding.is_broken else "note"


def _checked_item(report: Checked) -> dict[str, object]:
    return {
        "is_sound": report.is_sound,
        "num_versions": report.num_versions,
        "num_blobs": report.num_blobs,
        "hashed_bytes": report.hashed_bytes,
        "findings": [
            {
                "code": finding.code,
                "subject": finding.subject,
                "message": finding.message,
                "is_broken": finding.is_broken,
                "is_repaired": finding.is_repaired,
            }
            for finding in report.findings
        ],
    }
