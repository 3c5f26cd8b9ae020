"""Weights from a server: what `Client.downloads` is. A download that breaks off goes on where it was (Range)."""

from collections.abc import Iterator

import httpx

from .catalogue_client import version_path
from .connection import ClientError, Connection, foreign
from .patience import Patience


class DownloadsClient:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def weights(self, name: str, version: int, *, start: int = 0, patience: Patience | None = None) -> Iterator[bytes]:
        """A version's weights from byte `start` on, piece by piece as they come; the caller compares the digest.

        Raises `ClientError`.
        """
        patience = Patience() if patience is None else patience
        position, etag = start, None
        while True:
            try:
                with self._connection.stream(
                    version_path(name, version, "weights"), headers=_range(position, etag)
                ) as response:
                    etag = response.headers.get("etag")
                    for chunk in _from(response, position):
                        position += len(chunk)
                        patience.progressed()
                        yield chunk
                return
            except ClientError as error:
                patience.wait(error)


def _range(position: int, etag: str | None) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if position:
        headers["Range"] = f"bytes={position}-"
        if etag is not None:
            headers["If-Range"] = etag
    return headers


def _from(response: httpx.Response, position: int) -> Iterator[bytes]:
    """The body from `position` on, also where the server (or a proxy) sent all of it."""
    skip = 0
    if response.status_code == 200:
        skip = position
    elif not response.headers.get("content-range", "").startswith(f"bytes {position}-"):
        raise foreign(response)
    for chunk in response.iter_bytes():
        if skip < len(chunk):
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))
