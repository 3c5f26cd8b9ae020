"""`glossa backbones`: which backbones the registry knows, and making one known or loadable."""

from pathlib import Path

import click

from registry import catalog

from ..home import Home, settings_of
from ..items import backbone_item
from ..opening import opened
from ..output import echo_json, echo_table
from . import options


@click.group()
def backbones() -> None:
    """Backbones: list, make known to the registry, convert."""


@backbones.command("list")
@options.server
@options.as_json
def list_(server: str | None, json_output: bool) -> None:
    """List the registry's backbones."""
    with opened(server) as catalogue:
        known = catalogue.backbones()
    if json_output:
        echo_json([backbone_item(backbone) for backbone in known])
        return
    rows = [
        (
            backbone.name,
            backbone.fingerprint[:12],
            backbone.config.family,
            f"{backbone.config.num_layers} x {backbone.config.hidden_size}",
            backbone.config.vocab_size,
            "yes" if backbone.masked_lm else "no",
        )
        for backbone in known
    ]
    columns = ("name", "fingerprint", "family", "layers x width", "pieces", "masked LM")
    echo_table(columns, rows, empty="no backbone yet; add one with `glossa backbones add FOLDER|NAME`")


@backbones.command()
@click.argument("source", metavar="FOLDER|NAME")
@click.option("--name", help="What to call it. [default: the last part of FOLDER or NAME]")
@options.as_json
def add(source: str, name: str | None, json_output: bool) -> None:
    """Make a backbone known: a folder, or a name on the Hugging Face hub."""
    from madx.loading import load_backbone

    settings = settings_of(backbone=source)
    loaded = load_backbone(source)
    with Home.of(settings).registry() as registry:
        known = catalog.add_backbone(
            registry,
            fingerprint=loaded.fingerprint,
            name=name or loaded.name,
            config=loaded.config,
            masked_lm=loaded.backbone.masked_lm is not None,
        )
    if json_output:
        echo_json(backbone_item(known))
    else:
        click.echo(f"{known.name}: fingerprint {known.fingerprint}")


@backbones.command()
@click.argument("source", metavar="FOLDER|NAME")
@click.argument("folder", type=click.Path(path_type=Path))
def convert(source: str, folder: Path) -> None:
    """Write SOURCE, whose weights are .bin files, into FOLDER as safetensors. Only for files that you trust."""
    from madx.loading import convert_backbone

    convert_backbone(source, folder)
    click.echo(f"written to {folder}")
