"""GLOSSA_HOME and what belongs to it: the registry, run folders, data. Every command starts here. Torch-free."""

import os
from dataclasses import dataclass
from pathlib import Path

from registry.datasets.catalogue import load_catalogue
from registry.registry import Registry, open_registry
from service.settings import Settings
from trainer.data import DataPlaces


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

    def open_registry(self) -> Registry:
        return open_registry(self.root, database_url=self.database_url, blob_url=self.blob_url)

    def data_places(self) -> DataPlaces:
        """The catalogue with the user's own (GLOSSA_CATALOGUE), GLOSSA_DATA_DIR, and the cache in the home.

        Raises `InvalidCatalogue`.
        """
        return DataPlaces(
            catalogue=load_catalogue(_path_of("GLOSSA_CATALOGUE")),
            data_dir=_path_of("GLOSSA_DATA_DIR"),
            cache_dir=self.root / "data",
        )


def _path_of(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None
