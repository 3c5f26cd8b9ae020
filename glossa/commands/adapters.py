"""`glossa adapters`: the local registry's adapters, their versions and what points at them."""

import json
from pathlib import Path

import click

from registry import aliases, catalog
from registry.publish import publish
from registry.references import parse_reference
from registry.values import Adapter, Version

from ..folders import read_folder, write_folder
from ..home import Home, settings_of
from ..output import echo_json, echo_table, scores_text, size_text
from . import options


@click.group()
def adapters() -> None:
    """Adapters: list, show, push and pull folders, move aliases, set defaults."""


@adapters.command("list")
@click.option("--kind", type=click.Choice(["language", "task"]))
@click.option("--language", metavar="CODE", help="BCP 47 or ISO 639-3.")
@click.option("--task", metavar="TASK")
@options.as_json
def list_(kind: str | None, language: str | None, task: str | None, json_output: bool) -> None:
    """List adapters with their live versions."""
    with Home.of(settings_of()).registry() as registry:
        found = catalog.list_adapters(registry, kind=kind, language=language, task=task)  # type: ignore[arg-type]
    if json_output:
        echo_json([_item(adapter) for adapter in found])
        return
    rows = [
        (
            adapter.name,
            adapter.kind,
            adapter.language or adapter.task,
            ",".join(str(version.number) for version in adapter.versions),
            ",".join(f"{alias.alias}={alias.number}" for alias in adapter.aliases),
            size_text(adapter.versions[-1].size_bytes),
            adapter.versions[-1].manifest.backbone.name,
        )
        for adapter in found
    ]
    columns = ("name", "kind", "for", "versions", "aliases", "size", "backbone")
    echo_table(columns, rows, empty="no adapters; train one with `glossa train`, or push a folder")


def _item(adapter: Adapter) -> dict[str, object]:
    return {
        "name": adapter.name,
        "kind": adapter.kind,
        "language": adapter.language,
        "task": adapter.task,
        "versions": [version_item(version) for version in adapter.versions],
        "aliases": {alias.alias: alias.number for alias in adapter.aliases},
    }


def version_item(version: Version) -> dict[str, object]:
    """What `--json` says of one version, here and after training."""
    return {
        "reference": version.reference,
        "name": version.name,
        "number": version.number,
        "kind": version.kind,
        "language": version.language,
        "task": version.task,
        "fingerprint": version.fingerprint,
        "digest": version.manifest_digest,
        "size_bytes": version.size_bytes,
        "created_at": version.created_at,
        "metrics": version.manifest.metrics,
    }


@adapters.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@options.as_json
def show(reference: str, json_output: bool) -> None:
    """Show one version: its manifest, and what points at its adapter."""
    with Home.of(settings_of()).registry() as registry:
        version = catalog.resolve(registry, parse_reference(reference))
        adapter = catalog.show(registry, version.name)
    if json_output:
        echo_json({"reference": version.reference, "manifest": json.loads(version.manifest_bytes)})
        return
    for name, value in _facts(version, adapter).items():
        if value:
            click.echo(f"{name + ':':<13}{value}")


def _facts(version: Version, adapter: Adapter) -> dict[str, str | None]:
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
        "versions": ", ".join(str(other.number) for other in adapter.versions),
        "aliases": ", ".join(f"{alias.alias} -> {alias.number}" for alias in adapter.aliases),
    }


@adapters.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What to publish it as.")
@options.as_json
def push(folder: Path, name: str, json_output: bool) -> None:
    """Publish an adapter folder as the next version of NAME."""
    content = read_folder(folder)
    with Home.of(settings_of()).registry() as registry:
        published = publish(registry, content.manifest, content.weights, name=name)
    if json_output:
        echo_json(version_item(published.version) | {"created": published.created})
    else:
        state = "published" if published.created else "was there already"
        click.echo(f"{published.version.reference} {state}")


@adapters.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.option("--output", "folder", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@options.as_json
def pull(reference: str, folder: Path, json_output: bool) -> None:
    """Write a version into a folder."""
    with Home.of(settings_of()).registry() as registry:
        version = catalog.resolve(registry, parse_reference(reference))
        with registry.store.open(version.weights_digest) as stream:
            weights = stream.read()
    write_folder(folder, version.manifest_bytes, weights)
    if json_output:
        echo_json({"reference": version.reference, "folder": str(folder)})
    else:
        click.echo(f"{version.reference} written to {folder}")


@adapters.command()
@click.argument("reference", metavar="NAME@VERSION")
@click.argument("alias")
@click.option(
    "--expect", type=click.IntRange(min=0), help="Refuse unless the alias is at this revision (0: not there)."
)
@options.as_json
def alias(reference: str, alias: str, expect: int | None, json_output: bool) -> None:
    """Point ALIAS (such as production) at a version."""
    with Home.of(settings_of()).registry() as registry:
        version = catalog.resolve(registry, parse_reference(reference))
        moved = aliases.move_alias(registry, version.name, alias, version.number, expected=expect)
    if json_output:
        echo_json({"alias": f"{moved.adapter}@{moved.alias}", "number": moved.number, "revision": moved.revision})
    else:
        click.echo(f"{moved.adapter}@{moved.alias} -> {version.reference} (revision {moved.revision})")


@adapters.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@options.as_json
def default(reference: str, json_output: bool) -> None:
    """Make an adapter what runs for its language or task where a request names none."""
    parsed = parse_reference(reference)
    with Home.of(settings_of()).registry() as registry:
        fingerprint = catalog.resolve(registry, parsed).fingerprint
        version = catalog.set_default(registry, parsed, fingerprint=fingerprint)
    key = version.language or version.task
    if json_output:
        echo_json({"kind": version.kind, "key": key, "reference": str(parsed), "runs": version.reference})
    else:
        click.echo(f"{version.kind} {key}: {parsed} (now {version.reference})")
