"""`glossa adapters push` and `pull`: adapter folders to a registry and back, here or on a server.

Both go on where they were after an interruption.
"""

from pathlib import Path

import click

from madx.errors import GlossaError
from madx.manifest import from_bytes
from registry.references import check_name, parse_reference

from ..connection import ClientError
from ..folders import fill_folder, read_folder, received_bytes
from ..items import version_item
from ..opening import opened
from ..output import echo_json, size_text
from ..transfers import TransferProgress
from . import options


class TransferInterrupted(GlossaError):
    """Ctrl-C in the middle of a push or pull, which the same command goes on with."""

    code = "interrupted"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What to publish it as.")
@options.server
@options.as_json
def push(folder: Path, name: str, server: str | None, json_output: bool) -> None:
    """Publish an adapter folder as the next version of NAME.

    After an interruption the same command goes on with the bytes that a server already has.
    """
    check_name(name)
    content = read_folder(folder)
    size_bytes = from_bytes(content.manifest).weights.size_bytes
    where = "this machine's registry" if server is None else server
    with opened(server) as catalogue, TransferProgress(f"pushing {name} to {where}", size_bytes) as progress:
        try:
            published = catalogue.publish(name, content, progress.transfer)
        except KeyboardInterrupt as stop:
            raise _interrupted(server, progress.received_bytes, size_bytes) from stop
        except ClientError as error:
            if error.may_pass and progress.received_bytes:
                click.echo("the same command goes on with what the server has by now", err=True)
            raise
    version = published.version
    if json_output:
        echo_json(version_item(version) | {"created": published.created})
    else:
        click.echo(f"{version.reference} {'published' if published.created else 'was there already'}")


def _interrupted(server: str | None, received_bytes: int, size_bytes: int) -> TransferInterrupted:
    if server is None or not 0 < received_bytes < size_bytes:
        return TransferInterrupted("stopped; the same command begins again")
    return TransferInterrupted(
        f"stopped with {size_text(received_bytes)} of {size_text(size_bytes)} on the server; "
        "the same command goes on from there"
    )


@click.command()
@click.argument("reference", metavar="NAME[@VERSION|@ALIAS]")
@click.option("--output", "folder", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@options.server
@options.as_json
def pull(reference: str, folder: Path, server: str | None, json_output: bool) -> None:
    """Write a version into a folder."""
    parsed = parse_reference(reference)
    where = "this machine's registry" if server is None else server
    with opened(server) as catalogue:
        version = catalogue.resolve(parsed)
        weights = version.manifest.weights
        with TransferProgress(f"pulling {version.reference} from {where}", weights.size_bytes) as progress:
            try:
                fill_folder(
                    folder,
                    version.manifest_bytes,
                    weights,
                    lambda start: catalogue.weights(version, start, progress.transfer),
                )
            except KeyboardInterrupt as stop:
                raise TransferInterrupted(
                    f"stopped with {size_text(received_bytes(folder, weights))} of {size_text(weights.size_bytes)} "
                    f"in {folder}; the same command goes on from there"
                ) from stop
    if json_output:
        echo_json({"reference": version.reference, "folder": str(folder)})
    else:
        click.echo(f"{version.reference} written to {folder}")
