"""One registry: its database and its blob store, opened together. What every other module here is handed."""

from dataclasses import dataclass
from pathlib import Path

from .database import Database, migrate, open_database, open_file
from .stores import BlobStore, open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    database: Database
    store: BlobStore

    def close(self) -> None:
        self.database.close()


def open_registry(home: Path, *, database_url: str | None = None, blob_url: str | None = None) -> Registry:
    """Embedded by default: `home/registry.sqlite` and `home/blobs`. Brings the tables up to date."""
    home = home.absolute()
    store = open_store(blob_url if blob_url is not None else (home / "blobs").as_uri())
    database = open_file(home / "registry.sqlite") if database_url is None else open_database(database_url)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return Registry(database=database, store=store)
