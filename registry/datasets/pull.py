"""Download a data set from its source addresses into the cache.

Bytes stream into a temporary file while they are counted and hashed; only a file of the catalogue's size and digest is
renamed into place, so the cache holds whole files or none.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx

from ..durable import sync_folder
from .dataset import DataFile, DataSet
from .errors import DataMismatch, DataMissing, DownloadFailed, NotDownloadable
from .locate import cache_path, verify

Progress = Callable[[DataFile, int], None]
"""Called with the file and how many of its bytes have come; the count starts anew with every attempt."""

_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to try. `timeout_s` bounds each wait for bytes, `attempt_s` one attempt at one file in all."""

    attempts: int = 3
    timeout_s: float = 30.0
    attempt_s: float = 600.0
    pause_s: float = 1.0


class _Interrupted(Exception):
    """An attempt that failed in a way that may pass; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Download:
    """One file on its way from `url` to `target`; `scratch` is on the target's file system."""

    client: httpx.Client
    file: DataFile
    url: str
    target: Path
    scratch: Path
    progress: Progress | None
    patience: Patience


def pull(
    dataset: DataSet,
    cache_dir: Path,
    *,
    base_url: str | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> tuple[Path, ...]:
    """The cached files in the order of the splits, downloaded where they are not there already.

    `base_url` replaces scheme and host of the addresses, for a mirror. Raises `NotDownloadable` or `DownloadFailed`.
    """
    patience = patience or Patience()
    addresses = [_address(dataset, file, base_url) for file in dataset.files]
    # Without compression the counted bytes are the file's own.
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(timeout=patience.timeout_s, follow_redirects=True, headers=headers) as client:
        downloads = [
            _Download(
                client=client,
                file=file,
                url=url,
                target=cache_path(dataset, file, cache_dir),
                scratch=cache_dir,
                progress=progress,
                patience=patience,
            )
            for file, url in zip(dataset.files, addresses, strict=True)
        ]
        return tuple(_ensure(download) for download in downloads)


def _address(dataset: DataSet, file: DataFile, base_url: str | None) -> str:
    if file.url is None:
        sources = ", ".join(source.address for source in dataset.sources) or "sources unknown"
        raise NotDownloadable(
            f"{dataset.name} cannot be downloaded: no one address has {file.path} as it is (it comes from {sources}); "
            f"set GLOSSA_DATA_DIR to a folder that holds it"
        )
    if base_url is None:
        return file.url
    parts = urlsplit(file.url)
    return base_url.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")


def _ensure(download: _Download) -> Path:
    if _is_whole(download):
        return download.target
    patience = download.patience
    reason = ""
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.pause_s * 2 ** (attempt - 1))
        try:
            _attempt(download)
            return download.target
        except _Interrupted as error:
            reason = str(error)
        except OSError as error:
            raise DownloadFailed(f"cannot write {download.target}: {error.strerror or error}") from error
    raise DownloadFailed(
        f"{download.url}: {reason} ({patience.attempts} attempts); check the network and run the command again"
    )


def _is_whole(download: _Download) -> bool:
    try:
        verify(download.target, download.file)
    except (DataMissing, DataMismatch):
        return False
    return True


def _attempt(download: _Download) -> None:
    """Bring the file into place, or raise and leave nothing behind."""
    download.scratch.mkdir(parents=True, exist_ok=True)
    temporary = download.scratch / f".{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb") as out:
            _receive(download, out)
            out.flush()
            os.fsync(out.fileno())
        download.target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(download.target)
        sync_folder(download.target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _receive(download: _Download, out: BinaryIO) -> None:
    """Stream the body to `out`; the size and digest are checked before this returns."""
    file = download.file
    received = 0
    hasher = hashlib.sha256()
    for chunk in _body(download):
        received += len(chunk)
        if received > file.size_bytes:
            raise DownloadFailed(f"{download.url} is larger than the {file.size_bytes} bytes that the catalogue says")
        hasher.update(chunk)
        out.write(chunk)
        if download.progress is not None:
            download.progress(file, received)
    if received < file.size_bytes:
        raise _Interrupted(f"the answer ended after {received} of {file.size_bytes} bytes")
    if hasher.hexdigest() != file.sha256:
        raise DownloadFailed(
            f"{download.url} is not the file that the catalogue means: expected sha256 {file.sha256}, "
            f"found {hasher.hexdigest()}; nothing was kept"
        )


def _body(download: _Download) -> Iterator[bytes]:
    """The chunks of the answer. Foreign errors become ours here."""
    deadline = time.monotonic() + download.patience.attempt_s
    try:
        with download.client.stream("GET", download.url) as response:
            if response.status_code in _RETRY_STATUS:
                raise _Interrupted(f"the server answered {response.status_code}")
            if response.status_code != httpx.codes.OK:
                raise DownloadFailed(f"{download.url}: the server answered {response.status_code}, expected 200")
            # Chunks of a fixed size would wait until they are full, and so keep a slow server from its deadline.
            for chunk in response.iter_bytes():
                yield chunk
                if time.monotonic() > deadline:
                    raise _Interrupted(f"it took longer than {download.patience.attempt_s:g} s")
    except httpx.TimeoutException as error:
        raise _Interrupted(f"no answer within {download.patience.timeout_s:g} s") from error
    except httpx.InvalidURL as error:
        raise DownloadFailed(f"{download.url} is no address: {error}") from error
    except httpx.HTTPError as error:
        raise _Interrupted(f"the connection failed: {str(error) or type(error).__name__}") from error
