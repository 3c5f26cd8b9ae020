"""`glossa adapters list`, `versions`, `show`, `lineage`, `evaluations`: looking at adapters, here or on a server."""

import json

import click

from madx.manifest import Kind
from registry.lineage import Lineage
from registry.pages import MOST_PER_PAGE, walked
from registry.references import check_name, parse_reference
from registry.values import Version

from ..catalogues import AdapterEntry, Filters
from ..items import entry_item, evaluation_item, lineage_item, moment_text, summary_item, version_item
from ..opening import opened
from ..output import echo_json, echo_table, first_of, scores_text, size_text
from . import options


@click.command("list")
@click.option("--kind", type=click.Choice(["language", "task"]))
@click.option("--language", metavar="CODE", help="BCP 47 or ISO 639-3.")
@click.option("--task", metavar="TASK")
@click.option("--backbone", metavar="NAME|FINGERPRINT", help="With a version for this backbone.")
@click.option("--label", metavar="LABEL", help="With a version that answers this label: B-LOC, or LOC.")
@click.option("--query", metavar="PREFIX", help="Whose names begin like this.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many. [default: all]")
@options.server
@options.as_json
def list_(
    kind: Kind | None,
    language: str | None,
    task: str | None,
    backbone: str | None,
    label: str | None,
    query: str | None,
    limit: int | None,
    server: str | None,
    json_output: bool,
) -> None:
    """List adapters by name, each with its newest version."""
    filters = Filters(kind=kind, language=language, task=task, backbone=backbone, label=label, query=query)
    with opened(server) as catalogue:
        found = first_of(limit, walked(lambda cursor: catalogue.adapters(filters, limit=MOST_PER_PAGE, cursor=cursor)))
        if json_output:
            echo_json([entry_item(entry) for entry in found])
            return
        backbones = {} if not found else {known.fingerprint: known.name for known in catalogue.backbones()}
    rows = [
        (
            entry.name,
            entry.kind,
            entry.task or entry.language,
            entry.num_versions,
            entry.newest.reference,
            ",".join(f"{alias}={number}" for alias, number in entry.aliases.items()),
            size_text(entry.newest.size_bytes),
            backbones.get(entry.newest.fingerprint, entry.newest.fingerprint[:12]),
        )
        for entry in found
    ]
    columns = ("name", "kind", "for", "versions", "newest", "aliases", "size", "backbone")
    empty = "no adapters; train one with `glossa train`, or push a folder"
    echo_table(columns, rows, empty=empty if filters == Filters() else "no adapters that fit")


@click.command()
@click.argument("name")
@click.option("--deleted", is_flag=True, help="Also those that were deleted.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many. [default: all]")
@options.server
@options.as_json
def versions(name: str, deleted: bool, limit: int | None, server: str | None, json_output: bool) -> None:
    """List an adapter's versions, newest first."""
    check_name(name)
    with opened(server) as catalogue:
        found = first_of(
            limit,
            walked(
                lambda cursor: catalogue.versions(name, include_deleted=deleted, limit=MOST_PER_PAGE, cursor=cursor)
            ),
        )
        if json_output:
            echo_json([summary_item(version) for version in found])
            return
        live = any(version.deleted_at is None for version in found)
        aliases = catalogue.adapter(name).aliases if live else {}
        backbones = {known.fingerprint: known.name for known in catalogue.backbones()}
    rows = [
        (
            version.reference,
            moment_text(version.created_at),
            ",".join(alias for alias, number in aliases.items() if number == version.number),
            size_text(version.size_bytes),
            backbones.get(version.fingerprint, version.fingerprint[:12]),
            version.manifest_digest[:12],
            "" if version.deleted_at is None else f"deleted {moment_text(version.deleted_at)}",
        )
        for version in found
    ]
    columns = ("version", "published", "aliases", "size", "backbone", "digest", "")
    echo_table(columns, rows, empty="all versions are deleted; --deleted lists them")


@click.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@options.server
@options.as_json
def show(reference: str, server: str | None, json_output: bool) -> None:
    """Show one version: its manifest, and what points at its adapter."""
    parsed = parse_reference(reference)
    with opened(server) as catalogue:
        version = catalogue.resolve(parsed)
        if json_output:
            echo_json(version_item(version) | {"manifest": json.loads(version.manifest_bytes)})
            return
        _echo_facts(_facts(version, catalogue.adapter(version.name)))


def _echo_facts(facts: dict[str, str | None]) -> None:
    for name, value in facts.items():
        if value:
            click.echo(f"{name + ':':<13}{value}")


def _facts(version: Version, adapter: AdapterEntry) -> dict[str, str | None]:
    manifest = version.manifest
    data = [f"{data.name} {data.split} ({data.licence or 'licence unknown'})" for data in manifest.datasets]
    return {
        "version": version.reference,
        "digest": version.manifest_digest,
        "kind": manifest.kind,
        "language": manifest.language,
        "task": manifest.task,
        "labels": None if manifest.head is None else ", ".join(manifest.head.labels) or manifest.head.type,
        "composition": None if manifest.composition is None else manifest.composition.language,
        "invertible": None if manifest.kind == "task" else "yes" if manifest.config.invertible else "no",
        "backbone": f"{manifest.backbone.name} ({manifest.backbone.fingerprint[:12]})",
        "data": "; ".join(data),
        "method": manifest.method,
        "scores": scores_text(manifest.metrics),
        "size": size_text(version.size_bytes),
        "published": version.created_at.isoformat(timespec="seconds"),
        "versions": f"{adapter.num_versions}, the newest {adapter.newest.reference}",
        "aliases": ", ".join(f"{alias} -> {number}" for alias, number in adapter.aliases.items()),
    }


@click.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@options.server
@options.as_json
def lineage(reference: str, server: str | None, json_output: bool) -> None:
    """Show what a version was made from, and what was made from it."""
    parsed = parse_reference(reference)
    with opened(server) as catalogue:
        number = parsed.number or catalogue.resolve(parsed).number
        found = catalogue.lineage(parsed.name, number)
    if json_output:
        echo_json(lineage_item(found))
    else:
        _echo_facts(_origins(found))


def _origins(found: Lineage) -> dict[str, str | None]:
    parents = [
        f"{', '.join(references) or 'not in this registry'} ({parent[:12]})"
        for parent, references in found.parents.items()
    ]
    return {
        "version": found.reference,
        "digest": found.digest,
        "backbone": f"{found.fingerprint[:12]} ({found.fingerprint_source})",
        "method": found.method,
        "job": found.job,
        "data": "; ".join(f"{data.name} {data.split} ({data.digest[:12]})" for data in found.datasets),
        "made from": "; ".join(parents) or "nothing but the backbone",
        "made of it": ", ".join(found.children) or "nothing in this registry",
    }


@click.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many. [default: all]")
@options.server
@options.as_json
def evaluations(reference: str, limit: int | None, server: str | None, json_output: bool) -> None:
    """List a version's scores, newest first."""
    parsed = parse_reference(reference)
    with opened(server) as catalogue:
        number = parsed.number or catalogue.resolve(parsed).number
        pages = walked(lambda cursor: catalogue.evaluations(parsed.name, number, limit=MOST_PER_PAGE, cursor=cursor))
        found = first_of(limit, pages)
    if json_output:
        echo_json([evaluation_item(evaluation) for evaluation in found])
        return
    rows = [
        (
            evaluation.measured.language,
            evaluation.measured.dataset,
            evaluation.measured.split,
            evaluation.measured.language_adapter or "none",
            evaluation.measured.metric,
            f"{evaluation.measured.score:.4f}",
            evaluation.actor,
            moment_text(evaluation.created_at),
        )
        for evaluation in found
    ]
    columns = ("language", "data", "split", "language adapter", "metric", "score", "by", "at")
    echo_table(columns, rows, empty=f"nobody has scored {parsed.name}@{number} yet; `glossa evaluate` does")
