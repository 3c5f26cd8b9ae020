"""Where the registry of a test is: what `open_registry` takes, for this process and for others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.registry import Registry, open_registry
from tests.support.made_adapters import add_made_backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Without addresses: SQLite and a folder, in `home`."""

    home: Path
    database_url: str | None = None
    blob_url: str | None = None

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        """Opened, with the made-up backbone in it."""
        registry = open_registry(self.home, database_url=self.database_url, blob_url=self.blob_url)
        try:
            add_made_backbone(registry)
            yield registry
        finally:
            registry.close()
