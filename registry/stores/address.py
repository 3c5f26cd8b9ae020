"""A blob address, as `GLOSSA_BLOB_URL` holds it, to the store that serves it."""

import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import UnsupportedStore
from .base import BlobStore
from .local import LocalStore

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
FOLDER = re.compile(r"[A-Za-z0-9!_.*'()-]{1,200}")


def open_store(url: str, *, staging: Path | None = None) -> BlobStore:
    """`file:///absolute/folder` or `s3://bucket/prefix`, of which the prefix may be left out.

    `staging` is the local folder for the temporary files of an S3 store; it must be given for one. Raises
    `UnsupportedStore` for every other address, and `StoreUnavailable` for AWS settings that make no client.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UnsupportedStore("a blob address is file:///absolute/folder or s3://bucket/prefix") from error
    if parts.scheme == "file":
        return _local(url, parts)
    if parts.scheme == "s3":
        return _s3(parts, staging)
    raise UnsupportedStore(
        f"no blob store for {parts.scheme or 'a bare path'!r} addresses; "
        "supported: file:///absolute/folder and s3://bucket/prefix"
    )


def _local(url: str, parts: SplitResult) -> BlobStore:
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UnsupportedStore(f"{url!r} is no local folder; write file:///absolute/folder, with three slashes")
    return LocalStore(Path(unquote(parts.path)))


def _s3(parts: SplitResult, staging: Path | None) -> BlobStore:
    if "@" in parts.netloc:
        raise UnsupportedStore("keys do not belong into a blob address; set AWS_ACCESS_KEY_ID and its secret instead")
    folders = parts.path.strip("/").split("/") if parts.path.strip("/") else []
    wrong = parts.query or parts.fragment or not BUCKET.fullmatch(parts.netloc)
    if wrong or any(not FOLDER.fullmatch(folder) or folder in (".", "..") for folder in folders):
        raise UnsupportedStore(
            f"{parts.geturl()!r} is no bucket; write s3://bucket or s3://bucket/prefix, "
            "the prefix in letters, digits and - _ . ! * ' ( )"
        )
    if staging is None:
        raise ValueError("an S3 store needs a local folder for its temporary files")
    from .s3 import S3Store  # boto3 takes a while to import, and most registries are local
    from .s3_client import open_client

    return S3Store(open_client(), parts.netloc, "".join(f"{folder}/" for folder in folders), staging=staging)
