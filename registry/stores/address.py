"""A blob address, as `GLOSSA_BLOB_URL` holds it, to the store that serves it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import UnsupportedStore
from .base import BlobStore
from .local import LocalStore


def open_store(url: str) -> BlobStore:
    """`file:///absolute/folder`. Raises `UnsupportedStore` for every other address."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise UnsupportedStore(
            f"no blob store for {parts.scheme or 'a bare path'!r} addresses; supported: file:///absolute/folder"
        )
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UnsupportedStore(f"{url!r} is no local folder; write file:///absolute/folder, with three slashes")
    return LocalStore(Path(unquote(parts.path)))
