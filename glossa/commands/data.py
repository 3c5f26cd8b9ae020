"""`glossa data`: which data sets there are, and bringing them here."""

import click

from registry.datasets.dataset import DataFile, DataSet
from registry.datasets.errors import DataError
from registry.datasets.locate import locate_file
from registry.datasets.pull import pull as pull_files
from trainer.data import DataPlaces

from ..home import Home, settings_of
from ..output import echo_json, echo_table, size_text
from . import options


@click.group()
def data() -> None:
    """Data sets: list the catalogue, download into the cache."""


@data.command("list")
@click.option("--task", type=click.Choice(["text", "ner"]), help="Only data for this.")
@click.option("--language", metavar="CODE", help="BCP 47 or ISO 639-3.")
@click.option("--open", "only_open", is_flag=True, help="Only data whose licence lets trained weights be shared.")
@options.as_json
def list_(task: str | None, language: str | None, only_open: bool, json_output: bool) -> None:
    """List the catalogue and what of it is here."""
    places = Home.of(settings_of()).data_places()
    wanted: dict[str, object] = {"task": task, "language": language, "is_open": True if only_open else None}
    found = places.catalogue.select(**wanted)  # type: ignore[arg-type]
    if json_output:
        echo_json([_item(dataset, places) for dataset in found])
        return
    rows = [
        (
            dataset.name,
            dataset.task,
            dataset.language,
            ",".join(dataset.splits),
            size_text(dataset.size_bytes),
            "yes" if _is_here(dataset, places) else "pull" if dataset.is_downloadable else "no",
            dataset.licence,
        )
        for dataset in found
    ]
    columns = ("name", "task", "language", "splits", "size", "here", "licence")
    echo_table(columns, rows, empty="no data set matches")


def _item(dataset: DataSet, places: DataPlaces) -> dict[str, object]:
    return {
        "name": dataset.name,
        "task": dataset.task,
        "language": dataset.language,
        "format": dataset.format,
        "licence": dataset.licence,
        "open": dataset.is_open,
        "downloadable": dataset.is_downloadable,
        "here": _is_here(dataset, places),
        "sources": [
            {"address": source.address, "commit": source.commit, "licence": source.licence}
            for source in dataset.sources
        ],
        "files": [
            {"split": file.split, "path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes}
            for file in dataset.files
        ],
        "note": dataset.note,
    }


def _is_here(dataset: DataSet, places: DataPlaces) -> bool:
    """All files are here with the catalogue's digests."""
    try:
        for split in dataset.splits:
            locate_file(dataset, split, data_dir=places.data_dir, cache_dir=places.cache_dir)
    except DataError:
        return False
    return True


@data.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--base-url", metavar="URL", help="A mirror: replaces scheme and host of the source addresses.")
@options.as_json
def pull(names: tuple[str, ...], base_url: str | None, json_output: bool) -> None:
    """Download data sets from their source addresses, at the pinned commits."""
    places = Home.of(settings_of()).data_places()
    datasets = [places.catalogue.get(name) for name in names]
    pulled = []
    for dataset in datasets:
        paths = pull_files(dataset, places.cache_dir, base_url=base_url, progress=_Said())
        for file, path in zip(dataset.files, paths, strict=True):
            pulled.append({"name": dataset.name, "split": file.split, "path": str(path)})
            if not json_output:
                click.echo(f"{dataset.name} {file.split}: {path}")
    if json_output:
        echo_json(pulled)


class _Said:
    """Says each file once, when its first bytes come."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def __call__(self, file: DataFile, _received: int) -> None:
        if file.path not in self._begun:
            self._begun.add(file.path)
            click.echo(f"downloading {file.path} ({size_text(file.size_bytes)})", err=True)
