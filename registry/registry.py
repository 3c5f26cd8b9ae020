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
    home = home.absolute()
    store = open_store(blob_url if blob_url is not None else (home / "blobs").as_uri(), staging=home / "staging")
    database = open_file(home / "registry.sqlite") if database_url is None else open_database(database_url)
    try:
        if database.is_embedded:
            migrate(database)
        else:
            check_current(database)
    except BaseException:
        database.close()
        store.close()
        raise
    return Registry(database=database, store=store)
