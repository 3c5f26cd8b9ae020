"""The values of the blob stores: a blob, bytes on their way to become one, and what a crash left of such bytes."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from madx.manifest import Digest, is_digest

from ..errors import UnknownBlob

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A finished file that waits at `path` for `commit` or `discard`; whoever reads it leaves it as it is.

    `stage` and `begin` make one. Who keeps a finished file in the store's `staging`, or in a folder below it, and knows
    its digest may make one too: `commit` then takes that file over.
    """

    path: Path
    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What a crash left: a staged file, or with `upload_id` an S3 multipart upload that nobody completed."""

    name: str
    modified_at: datetime
    size_bytes: int
    upload_id: str | None = None


def check_digest(digest: str) -> Digest:
    """Guards every key that a store builds, so that no caller's text becomes a path."""
    if not is_digest(digest):
        raise UnknownBlob(f"{digest!r} is no blob digest: a digest is 64 lower-case hexadecimal digits")
    return Digest(digest)
