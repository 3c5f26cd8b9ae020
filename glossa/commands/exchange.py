"""`glossa import` and `glossa export`: adapters of AdapterHub's library to the registry and back."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from madx.errors import BackboneUnavailable
from madx.manifest import Manifest, to_bytes
from registry.references import check_name, parse_reference
from registry.values import Backbone, PublishedVersion, Version

from ..catalogues import Catalogue
from ..folders import WEIGHTS_FILE, AdapterFolder, fill_folder
from ..home import settings_of
from ..items import version_item
from ..opening import opened
from ..output import echo_json
from ..transfers import TransferProgress
from . import options

if TYPE_CHECKING:
    import torch

    from ..adapterhub.choices import Wishes
    from ..adapterhub.importing import ImportedAdapter, WordEmbeddings


@click.group("import")
def import_() -> None:
    """Publish adapters that other libraries trained."""


@click.group()
def export() -> None:
    """Write adapters for other libraries."""


@import_.command("adapterhub")
@click.argument("source", metavar="FOLDER|NAME")
@click.option("--name", required=True, help="What to publish it as.")
@click.option("--language", metavar="CODE", help="It is a language adapter, for this language.")
@click.option("--task", metavar="TASK", help="It is a task adapter, for this task, such as ner.")
@click.option("--backbone", metavar="NAME|FINGERPRINT", help="[default: the registry's only one that fits]")
@click.option("--revision", metavar="BRANCH", help="A branch, tag or commit of NAME on the hub.")
@click.option("--labels", metavar="O,B-PER,...", help="A task head's labels in order. [default: the folder's]")
@click.option("--composition", metavar="swapped|none|NAME@VERSION", help="What a task adapter runs on top of.")
@click.option("--leave-out", metavar="11,...|none", help="Layers where the language adapter under it does not act.")
@click.option("--without-head", is_flag=True, help="Leave a language adapter's own masked_lm head behind.")
@options.server
@options.as_json
def import_adapterhub(
    source: str,
    name: str,
    language: str | None,
    task: str | None,
    backbone: str | None,
    revision: str | None,
    labels: str | None,
    composition: str | None,
    leave_out: str | None,
    without_head: bool,
    server: str | None,
    json_output: bool,
) -> None:
    """Publish an AdapterHub adapter, a folder or a name on the Hugging Face hub, as the next version of NAME.

    Its weights are read on this machine; a .bin file is read by torch's restricted unpickler.
    """
    if language is not None and task is not None:
        raise click.UsageError("give --language for a language adapter or --task for a task adapter, not both")
    check_name(name)
    from ..adapterhub.choices import Wishes

    wishes = Wishes(
        language=language,
        task=None if task is None else check_name(task),
        labels=None if labels is None else tuple(label.strip() for label in labels.split(",")),
        composition=composition,
        leave_out=_layers(leave_out),
        with_head=not without_head,
    )
    with opened(server) as catalogue:
        found = _read(source, revision, wishes, catalogue.backbones(), backbone)
        published = _publish(catalogue, name, found)
    if json_output:
        echo_json(version_item(published.version) | {"created": published.created, "notes": found.notes})
        return
    _say(found.notes)
    state = "published" if published.created else "was there already"
    click.echo(f"{published.version.reference} {state}: {_summary(found.manifest)}")


def _read(
    source: str, revision: str | None, wishes: "Wishes", known: Sequence[Backbone], wanted: str | None
) -> "ImportedAdapter":
    from ..adapterhub.choices import named_backbone
    from ..adapterhub.download import locate
    from ..adapterhub.importing import import_folder

    to_choose = known if wanted is None else (named_backbone(known, wanted),)
    return import_folder(locate(source, revision), wishes, to_choose, _word_embeddings(), named=wanted is not None)


def _publish(catalogue: Catalogue, name: str, found: "ImportedAdapter") -> PublishedVersion:
    with TemporaryDirectory(prefix="glossa-import-") as folder:
        weights = Path(folder) / WEIGHTS_FILE
        weights.write_bytes(found.weights)
        with TransferProgress(f"publishing {name}", len(found.weights)) as progress:
            content = AdapterFolder(manifest=to_bytes(found.manifest), weights=weights)
            return catalogue.publish(name, content, progress.transfer)


def _layers(text: str | None) -> tuple[int, ...] | None:
    if text is None or text == "none":
        return None if text is None else ()
    try:
        return tuple(sorted({int(layer) for layer in text.split(",")}))
    except ValueError as error:
        raise click.UsageError(f"--leave-out: {text!r} is no list of layer numbers like 10,11") from error


def _word_embeddings() -> "WordEmbeddings":
    """Of the backbone that GLOSSA_BACKBONE names: the only one whose weights are known to be at hand."""
    source = settings_of().backbone

    def load(backbone: Backbone) -> "torch.Tensor":
        from madx.loading import load_backbone

        loaded = load_backbone(source)
        if loaded.fingerprint != backbone.fingerprint:
            raise BackboneUnavailable(
                f"a masked_lm head goes with the word embeddings of {backbone.name}; "
                f"set GLOSSA_BACKBONE to its folder or hub name (it is {source} now)"
            )
        return loaded.backbone.word_embedding

    return load


def _summary(manifest: Manifest) -> str:
    config, head = manifest.config, manifest.head
    parts = [f"{manifest.kind} adapter for {manifest.task or manifest.language}", f"reduction {config.reduction:g}"]
    parts.append(config.non_linearity)
    if config.invertible is not None:
        parts.append("invertible")
    if head is not None:
        parts.append(f"{head.type} head" + (f" of {len(head.labels)} labels" if head.labels else ""))
    return f"{', '.join(parts)}, on {manifest.backbone.name}"


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


@export.command("adapterhub")
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--bin/--safetensors", "as_bin", default=True, show_default=True, help="The kind of weights file.")
@options.server
@options.as_json
def export_adapterhub(reference: str, folder: Path, as_bin: bool, server: str | None, json_output: bool) -> None:
    """Write a version into a new folder that AdapterHub's library loads."""
    from ..adapterhub.choices import named_backbone
    from ..adapterhub.exporting import export_version
    from ..adapterhub.folders import write_folder

    parsed = parse_reference(reference)
    with opened(server) as catalogue:
        version = catalogue.resolve(parsed)
        backbone = named_backbone(catalogue.backbones(), version.fingerprint)
        weights = _weights(catalogue, version)
    exported = export_version(version, weights, backbone, _word_embeddings(), kind="bin" if as_bin else "safetensors")
    write_folder(folder, exported.files)
    how = f'load_adapter("{folder}"{"" if as_bin else ", use_safetensors=True"})'
    if json_output:
        echo_json({"reference": version.reference, "folder": str(folder), "name": exported.name, "load": how})
        return
    _say(exported.notes)
    click.echo(f"{version.reference} written to {folder} as adapter {exported.name!r}; load it with {how}")


def _weights(catalogue: Catalogue, version: Version) -> bytes:
    """Those that the manifest names, byte for byte."""
    ref = version.manifest.weights
    with (
        TemporaryDirectory(prefix="glossa-export-") as folder,
        TransferProgress(f"reading {version.reference}", ref.size_bytes) as progress,
    ):
        fill_folder(
            Path(folder),
            version.manifest_bytes,
            ref,
            lambda start: catalogue.weights(version, start, progress.transfer),
        )
        return (Path(folder) / WEIGHTS_FILE).read_bytes()
