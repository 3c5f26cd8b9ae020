"""One registry: its database, its blob store and its gate, opened together. What every other module here is handed."""

from dataclasses import dataclass, field
from pathlib import Path

from .database import Database, check_current, migrate, open_database
from .gatekeeper import Gatekeeper
from .sqlite import open_file
from .stores import BlobStore, open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    database: Database
    store: BlobStore
    gatekeeper: Gatekeeper = field(default_factory=Gatekeeper)

    def close(self) -> None:
        self.database.close()
        self.store.close()


def open_registry(home: Path, *, database_url: str | None = None, blob_url: str | None = None) -> Registry:
    """Embedded by default: `home/registry.sqlite` and `home/blobs`.

    The tables of a SQLite file are brought up to date. Those of a server, which other versions of this program may be
    using, are not: raises `DatabaseOutdated` until somebody has run `glossa registry migrate`.
    """
    registry = open_unchecked(home, database_url=database_url, blob_url=blob_url)
    try:
        if registry.database.is_embedded:
            migrate(registry.database)
        else:
            check_current(registry.database)
    except BaseException:
        registry.close()
        raise
    return registry


def open_unchecked(home: Path, *, database_url: str | None = None, blob_url: str | None = None) -> Registry:
    """Whatever the tables are, if there are any: for migrating them and telling of them."""
    home = home.absolute()
    store = open_store(blob_address(home, blob_url), staging=home / "staging")
    try:
        database = open_file(home / "registry.sqlite") if database_url is None else open_database(database_url)
    except BaseException:
        store.close()
        raise
    return Registry(database=database, store=store)


def blob_address(home: Path, blob_url: str | None) -> str:
    """Where the blobs are. No password is in it: `open_store` refuses such addresses."""
    return blob_url if blob_url is not None else (home.absolute() / "blobs").as_uri()
