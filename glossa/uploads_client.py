"""Versions to a server: what `Client.uploads` is. Weights are read from their file, never held in memory.

Small ones go in one request. Large ones go piece by piece into a resumable upload, which outlives lost connections,
restarts of the server and, with a `memory`, of this process: it is asked where to go on. Then they are published.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from madx.errors import InvalidWeights
from madx.manifest import Digest, digest_of, from_bytes
from registry.refusals import DigestMismatch

from .connection import LONG_TIMEOUT_S, ClientError, Connection, Json, path_of
from .patience import Patience

PIECE_BYTES = 16 << 20
RESUMABLE_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
_MOST_BEGINNINGS = 3
_NO_UPLOAD = "0" * 32

Progress = Callable[[int], None]


class UploadMemory(Protocol):
    """Where the id of an unfinished upload is kept; `key` says what is uploaded where."""

    def recall(self, key: str, /) -> str | None: ...

    def remember(self, key: str, upload: str, /) -> None: ...

    def forget(self, key: str, /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Publication:
    """What is to be published. `key` tells it from every other."""

    name: str
    manifest: bytes
    weights: Path
    size_bytes: int
    digest: Digest
    key: str


class UploadsClient:
    """Weights of `resumable_bytes` or more are sent in pieces."""

    def __init__(
        self, connection: Connection, *, resumable_bytes: int = RESUMABLE_BYTES, piece_bytes: int = PIECE_BYTES
    ) -> None:
        self._connection = connection
        self._resumable_bytes = resumable_bytes
        self._piece_bytes = piece_bytes

    def publish(
        self,
        name: str,
        manifest: bytes,
        weights: Path,
        *,
        on_progress: Progress | None = None,
        memory: UploadMemory | None = None,
        patience: Patience | None = None,
    ) -> dict[str, Json]:
        """Publish as the next version of `name`: {name, version, digest, reference, created}.

        `on_progress` is told how many bytes have been sent; after a lost connection it may be fewer than before.
        Raises `ClientError`, and before anything is sent `InvalidManifest`, or `InvalidWeights` where the file is not
        the one that the manifest names.
        """
        publication = self._publication(name, manifest, weights)
        patience = Patience() if patience is None else patience
        told = on_progress or _ignore
        if publication.size_bytes < self._resumable_bytes:
            done = self._publish_at_once(publication, patience)
            told(publication.size_bytes)
            return done
        _check_digest(publication)
        return _Transfer(self._connection, publication, told, memory or _Forgetful(), patience, self._piece_bytes).run()

    def _publication(self, name: str, manifest: bytes, weights: Path) -> _Publication:
        named = from_bytes(manifest).weights
        try:
            size_bytes = weights.stat().st_size
        except OSError as error:
            raise InvalidWeights(f"cannot read {weights}: {error.strerror}") from error
        if size_bytes != named.size_bytes:
            raise DigestMismatch(f"the weights have {size_bytes} bytes, the manifest names {named.size_bytes}")
        return _Publication(
            name=name,
            manifest=manifest,
            weights=weights,
            size_bytes=size_bytes,
            digest=Digest(named.digest),
            key=digest_of(f"{self._connection.address}\n{name}\n{digest_of(manifest)}".encode()),
        )

    def _publish_at_once(self, publication: _Publication, patience: Patience) -> dict[str, Json]:
        def send() -> dict[str, Json]:
            with publication.weights.open("rb") as stream:
                return _send_form(self._connection, publication, "weights", ("adapter.safetensors", stream))

        return patience.until_it_passes(send)


class _Transfer:
    """One publication on its way through a resumable upload."""

    def __init__(
        self,
        connection: Connection,
        publication: _Publication,
        told: Progress,
        memory: UploadMemory,
        patience: Patience,
        piece_bytes: int,
    ) -> None:
        self._piece_bytes = piece_bytes
        self._connection = connection
        self._publication = publication
        self._told = told
        self._memory = memory
        self._patience = patience

    def run(self) -> dict[str, Json]:
        """Asks to publish before a byte is sent: what is refused, or there already, costs no upload then."""
        upload = self._memory.recall(self._publication.key)
        for is_last in (False,) * _MOST_BEGINNINGS + (True,):
            try:
                done = self._submit(upload or _NO_UPLOAD)
                self._memory.forget(self._publication.key)
                return done
            except ClientError as error:
                if is_last or error.code not in ("unknown_upload", "upload_incomplete"):
                    self._give_up(upload, error)
                    raise
                if error.code == "unknown_upload" or upload is None:
                    upload = self._begin()
            self._fill(upload)
        raise AssertionError("the last round returns or raises")

    def _fill(self, upload: str) -> None:
        """An upload that expired meanwhile, or that another server has, is noticed when it is published."""
        try:
            self._send_pieces(upload)
            self._finish(upload)
        except ClientError as error:
            if error.code != "unknown_upload":
                self._give_up(upload, error)
                raise

    def _begin(self) -> str:
        body = {"size_bytes": self._publication.size_bytes}
        answer = self._patience.until_it_passes(lambda: self._connection.object("POST", path_of("uploads"), json=body))
        upload = str(answer["id"])
        self._memory.remember(self._publication.key, upload)
        return upload

    def _send_pieces(self, upload: str) -> None:
        received = self._received(upload)
        self._told(received)
        while received < self._publication.size_bytes:
            try:
                now = self._append(upload, received)
            except ClientError as error:
                self._patience.wait(error)
                now = self._received(upload)
            if now > received:
                self._patience.progressed()
            received = now
            self._told(received)

    def _append(self, upload: str, start: int) -> int:
        size_bytes = self._publication.size_bytes
        length = min(self._piece_bytes, size_bytes - start)
        answer = self._connection.object(
            "PATCH",
            path_of("uploads", upload),
            headers={
                "Content-Range": f"bytes {start}-{start + length - 1}/{size_bytes}",
                "Content-Length": str(length),
                "Content-Type": "application/octet-stream",
            },
            content=_piece(self._publication.weights, start, length, self._told),
        )
        return int(answer["received_bytes"])

    def _received(self, upload: str) -> int:
        answer = self._patience.until_it_passes(lambda: self._connection.object("GET", path_of("uploads", upload)))
        return int(answer["received_bytes"])

    def _finish(self, upload: str) -> None:
        query = {"digest": self._publication.digest}
        self._patience.until_it_passes(
            lambda: self._connection.object("PUT", path_of("uploads", upload), query=query, timeout_s=LONG_TIMEOUT_S)
        )

    def _submit(self, upload: str) -> dict[str, Json]:
        return self._patience.until_it_passes(
            lambda: _send_form(self._connection, self._publication, "upload", (None, upload))
        )

    def _give_up(self, upload: str | None, error: ClientError) -> None:
        """What will be refused again must not fill the server's disk until it expires there."""
        if upload is None or not error.is_refusal:
            return
        self._memory.forget(self._publication.key)
        with suppress(ClientError):
            self._connection.send("DELETE", path_of("uploads", upload))


class _Forgetful:
    """For who does not want an upload to outlive this process."""

    def recall(self, _key: str) -> str | None:
        return None

    def remember(self, _key: str, _upload: str) -> None:
        pass

    def forget(self, _key: str) -> None:
        pass


def _send_form(
    connection: Connection, publication: _Publication, field: str, value: tuple[str | None, object]
) -> dict[str, Json]:
    """The manifest comes first, so that the server can refuse it before the weights."""
    manifest = ("manifest", ("manifest.json", publication.manifest, "application/json"))
    path = path_of("adapters", publication.name, "versions")
    return connection.object("POST", path, files=[manifest, (field, value)], timeout_s=LONG_TIMEOUT_S)


def _piece(weights: Path, start: int, length: int, told: Progress) -> Iterator[bytes]:
    with weights.open("rb") as stream:
        stream.seek(start)
        while length:
            chunk = stream.read(min(_CHUNK_BYTES, length))
            if not chunk:
                raise InvalidWeights(f"{weights} became shorter while it was sent; push it again")
            yield chunk
            length -= len(chunk)
            told(stream.tell())


def _check_digest(publication: _Publication) -> None:
    """A look at the file takes a second, sending it to be refused takes minutes."""
    with publication.weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != publication.digest:
        raise DigestMismatch(f"the weights have sha256 {found}, the manifest names {publication.digest}")


def _ignore(_received_bytes: int) -> None:
    pass
