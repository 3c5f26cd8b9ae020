"""Which registry a command works on: that of the server it names, else this machine's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .catalogues import Catalogue
from .client import Client
from .home import Home, settings_of
from .local_catalogue import LocalCatalogue
from .remote_catalogue import RemoteCatalogue
from .upload_memory import FOLDER, FileUploadMemory


def api_key() -> str | None:
    return os.environ.get("GLOSSA_API_KEY") or None


@contextmanager
def opened(server: str | None) -> Iterator[Catalogue]:
    """`server` is an address, or None for the registry of GLOSSA_HOME or DATABASE_URL. Raises `GlossaError`."""
    home = Home.of(settings_of())
    if server is not None:
        with Client(server, api_key()) as client:
            yield RemoteCatalogue(client=client, memory=FileUploadMemory(folder=home.root / FOLDER))
        return
    with home.registry() as registry:
        yield LocalCatalogue(registry=registry)
