"""GLOSSA_HOME and what belongs to it: the registry, run folders, data. Every command starts here. Torch-free."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.datasets.catalogue import load_catalogue
from registry.registry import Registry, open_registry, open_unchecked
from service.settings import Settings, read_settings
from trainer.data import DataPlaces

from .demo import demo_backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where everything of one user lies. `database_url` and `blob_url` replace what is embedded in `root`."""

    root: Path
    database_url: str | None = None
    blob_url: str | None = None

    @staticmethod
    def of(settings: Settings) -> "Home":
        return Home(
            root=settings.home.expanduser().absolute(), database_url=settings.database_url, blob_url=settings.blob_url
        )

    @property
    def runs(self) -> Path:
        """Run folders: checkpoints until an adapter is published."""
        return self.root / "runs"

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        """The registry, opened and closed again; the tables of a SQLite file are made where there are none."""
        opened = open_registry(self.root, database_url=self.database_url, blob_url=self.blob_url)
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def unchecked_registry(self) -> Iterator[Registry]:
        """The same, whatever its tables are, if there are any."""
        opened = open_unchecked(self.root, database_url=self.database_url, blob_url=self.blob_url)
        try:
            yield opened
        finally:
            opened.close()

    def data_places(self) -> DataPlaces:
        """The catalogue with the user's own (GLOSSA_CATALOGUE), GLOSSA_DATA_DIR, and the cache in the home.

        Raises `InvalidCatalogue`.
        """
        return DataPlaces(
            catalogue=load_catalogue(_path_of("GLOSSA_CATALOGUE")),
            data_dir=_path_of("GLOSSA_DATA_DIR"),
            cache_dir=self.root / "data",
        )


def settings_of(*, backbone: str | None = None, keys: str | None = None) -> Settings:
    """The environment's settings; `backbone`, else GLOSSA_BACKBONE, else the demo's. Raises `InvalidSettings`."""
    given = {name: value for name, value in (("backbone", backbone), ("keys", keys)) if value is not None}
    return read_settings(default_backbone=demo_backbone(), **given)


def _path_of(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None
