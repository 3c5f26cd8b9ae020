"""Resumable uploads: a row, and a file below the store's `staging` that grows piece by piece.

The file's own length is how much has come; it is synced before anybody is told, so that an upload outlives its server.
Who writes holds the file's lock. A whole upload is looked through once (`finish_upload`), and then `publish` takes it.
The bytes lie with the server that began the upload.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from madx.manifest import Digest

from .database import hold, now_of
from .errors import BlobTooLarge, StoreUnavailable, TooManyUploads, UnknownUpload, UploadIncomplete, WrongRange
from .models import UploadRow
from .refusals import DigestMismatch
from .registry import Registry
from .stores import Blob, Staged
from .stores.blob import CHUNK_BYTES
from .stores.staging import SUFFIX
from .upload_file import UploadFile, is_upload_id, unlink_file
from .values import Upload

FOLDER = "uploads"
_ROWLESS_AGE = timedelta(hours=1)  # a file is made before its row


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """What a server grants: bytes of one upload, its life after the last piece, and how many one actor may have."""

    size_bytes: int
    life: timedelta
    per_actor: int


def open_upload(registry: Registry, *, actor: str, limits: UploadLimits, size_bytes: int | None = None) -> Upload:
    """A new, empty one. Raises `BlobTooLarge` for a size beyond the limit, and `TooManyUploads`."""
    if size_bytes is not None:
        _check_size(size_bytes, limits.size_bytes)
    upload = secrets.token_hex(16)
    path = _path(registry, upload)
    UploadFile.create(path)
    try:
        with registry.database.session() as session:
            return _open_row(session, upload, actor=actor, limits=limits, size_bytes=size_bytes)
    except BaseException:
        unlink_file(path)
        raise


def _open_row(session: Session, upload: str, *, actor: str, limits: UploadLimits, size_bytes: int | None) -> Upload:
    hold(session, f"uploads of {actor}")
    now = now_of(session)
    mine = select(func.count()).select_from(UploadRow).where(UploadRow.actor == actor, UploadRow.expires_at > now)
    if (session.scalar(mine) or 0) >= limits.per_actor:
        raise TooManyUploads(
            f"{limits.per_actor} uploads are open already; publish or cancel one, or wait until one expires"
        )
    row = UploadRow(id=upload, actor=actor, size_bytes=size_bytes, created_at=now, expires_at=now + limits.life)
    session.add(row)
    session.flush()
    return _upload_of(row, received_bytes=0)


def show_upload(registry: Registry, upload: str, *, actor: str) -> Upload:
    """Raises `UnknownUpload`: not there, expired, another actor's, or begun at another server."""
    with registry.database.reading() as session:
        row = _find(session, upload, actor)
        try:
            received_bytes = _path(registry, upload).stat().st_size
        except FileNotFoundError:
            raise _unknown(upload) from None
        except OSError as error:
            raise StoreUnavailable(f"cannot read upload {upload}: {error.strerror}") from error
        return _upload_of(row, received_bytes=received_bytes)


class Append:
    """Writes one piece at the end of an upload, and holds its lock until `close`. One thread at a time uses it."""

    def __init__(self, registry: Registry, upload: str, file: UploadFile, *, limit_bytes: int, life: timedelta) -> None:
        self._registry = registry
        self._upload = upload
        self._file = file
        self._limit_bytes = limit_bytes
        self._life = life

    def write(self, chunk: bytes) -> None:
        """Raises `BlobTooLarge` where `chunk` would pass the upload's size, and writes nothing of it then."""
        _check_size(self._file.size_bytes + len(chunk), self._limit_bytes)
        self._file.write(chunk)

    def close(self) -> Upload:
        """Sync what came, let go of the lock, and prolong the upload's life. Call it whatever happened before."""
        try:
            self._file.sync()
            received_bytes = self._file.size_bytes
            with self._registry.database.session() as session:
                row = session.get(UploadRow, self._upload, with_for_update=True)
                if row is None:
                    raise _unknown(self._upload)
                row.expires_at = now_of(session) + self._life
                return _upload_of(row, received_bytes=received_bytes)
        finally:
            self._file.close()


def begin_append(registry: Registry, upload: str, *, start: int, actor: str, limits: UploadLimits) -> Append:
    """For bytes from `start` on. Raises `WrongRange` unless exactly `start` bytes are there, `UnknownUpload`, and
    `UploadBusy` while another writes.
    """
    with registry.database.reading() as session:
        size_bytes = _find(session, upload, actor).size_bytes
    file = UploadFile.open(_path(registry, upload))
    try:
        with registry.database.reading() as session:
            is_complete = _find(session, upload, actor).digest is not None
        if start != file.size_bytes or is_complete:
            state = "is complete" if is_complete else f"goes on at byte {file.size_bytes}, not {start}"
            raise WrongRange(f"upload {upload} {state}", received_bytes=file.size_bytes)
    except BaseException:
        file.close()
        raise
    limit_bytes = limits.size_bytes if size_bytes is None else size_bytes
    return Append(registry, upload, file, limit_bytes=limit_bytes, life=limits.life)


def finish_upload(registry: Registry, upload: str, digest: Digest, *, actor: str, limits: UploadLimits) -> Upload:
    """Hash the whole file and mark it complete. Raises `DigestMismatch`, after which the upload is as it was."""
    with registry.database.reading() as session:
        _find(session, upload, actor)
    with UploadFile.open(_path(registry, upload)) as file:
        with registry.database.reading() as session:
            row = _find(session, upload, actor)
            expected_bytes, known = row.size_bytes, row.digest
        if expected_bytes is not None and file.size_bytes != expected_bytes:
            raise DigestMismatch(f"upload {upload} has {file.size_bytes} of {expected_bytes} bytes")
        found = known or _hashed(_path(registry, upload))
        if found != digest:
            raise DigestMismatch(f"upload {upload} has sha256 {found}, not {digest}")
        file.sync()
        with registry.database.session() as session:
            row = session.get_one(UploadRow, upload, with_for_update=True)
            row.digest, row.size_bytes = digest, file.size_bytes
            row.expires_at = now_of(session) + limits.life
            return _upload_of(row, received_bytes=file.size_bytes)


def cancel_upload(registry: Registry, upload: str, *, actor: str) -> None:
    """Raises `UnknownUpload`, and `UploadBusy` while a piece of it is being written or it is being published."""
    with registry.database.reading() as session:
        _find(session, upload, actor)
    path = _path(registry, upload)
    with UploadFile.open(path):
        unlink_file(path)
    # The file first, and closed: where it has filled the disk, the database can write again only then.
    _forget(registry, upload)


@contextmanager
def taken(registry: Registry, upload: str, *, actor: str) -> Iterator[Staged]:
    """What `publish_staged` takes. Afterwards the upload is gone, unless the block raised: then it is as it was.

    Raises `UploadIncomplete` where it was not finished.
    """
    with registry.database.reading() as session:
        _find(session, upload, actor)
    path = _path(registry, upload)
    with UploadFile.open(path) as file:
        with registry.database.reading() as session:
            digest = _find(session, upload, actor).digest
        if digest is None:
            raise UploadIncomplete(f"upload {upload} is not finished; PUT its digest first")
        # A second name: the store takes that one, and the first stays until the version is committed.
        link = registry.store.staging / f"{secrets.token_hex(16)}{SUFFIX}"
        try:
            os.utime(path)  # or collection might take the new name for an old leftover
            link.hardlink_to(path)
        except OSError as error:
            raise StoreUnavailable(f"cannot take upload {upload}: {error.strerror}") from error
        try:
            yield Staged(path=link, blob=Blob(digest=Digest(digest), size_bytes=file.size_bytes))
        finally:
            unlink_file(link)
        _forget(registry, upload)
        unlink_file(path)


def expired_uploads(registry: Registry, now: datetime) -> tuple[Upload, ...]:
    """What `expire_uploads` would remove of what has rows; `received_bytes` is 0 where the bytes lie elsewhere."""
    with registry.database.reading() as session:
        rows = session.scalars(select(UploadRow).where(UploadRow.expires_at <= now).order_by(UploadRow.id))
        return tuple(_upload_of(row, received_bytes=_length(_path(registry, row.id))) for row in rows)


def expire_uploads(registry: Registry, now: datetime) -> tuple[Upload, ...]:
    """Remove what has expired and nobody writes to, and files here that have had no row for an hour."""
    removed = tuple(upload for upload in expired_uploads(registry, now) if _expire(registry, upload.id, now))
    folder = registry.store.staging / FOLDER
    try:
        names = sorted(path.name for path in folder.iterdir() if is_upload_id(path.name))
    except FileNotFoundError:
        return removed
    with registry.database.reading() as session:
        known = set(session.scalars(select(UploadRow.id)))
    for name in names:
        if name not in known and _modified_before(folder / name, now - _ROWLESS_AGE):
            unlink_file(folder / name)
    return removed


def _expire(registry: Registry, upload: str, now: datetime) -> bool:
    path = _path(registry, upload)
    with UploadFile.held_if_free(path) as free:
        if not free:
            return False
        with registry.database.reading() as session:
            row = session.get(UploadRow, upload)
            if row is None or row.expires_at > now:
                return False
        unlink_file(path)
    return _forget(registry, upload, UploadRow.expires_at <= now)


def _forget(registry: Registry, upload: str, *conditions: ColumnElement[bool]) -> bool:
    """Whether there was such a row. One whose file is gone already is unknown to all, and ends with its time."""
    with registry.database.session() as session:
        gone = delete(UploadRow).where(UploadRow.id == upload, *conditions)
        return bool(session.connection().execute(gone).rowcount)


def _find(session: Session, upload: str, actor: str) -> UploadRow:
    row = session.get(UploadRow, upload) if is_upload_id(upload) else None
    if row is None or row.actor != actor or row.expires_at <= now_of(session):
        raise _unknown(upload)
    return row


def _unknown(upload: str) -> UnknownUpload:
    return UnknownUpload(
        f"no upload {upload[:40]!r} of yours at this server; it may have expired, been published, "
        "or been begun elsewhere"
    )


def _upload_of(row: UploadRow, *, received_bytes: int) -> Upload:
    return Upload(
        id=row.id,
        received_bytes=received_bytes,
        size_bytes=row.size_bytes,
        digest=None if row.digest is None else Digest(row.digest),
        expires_at=row.expires_at,
    )


def _path(registry: Registry, upload: str) -> Path:
    if not is_upload_id(upload):  # guards the one place where a caller's text becomes a path
        raise _unknown(upload)
    return registry.store.staging / FOLDER / upload


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise BlobTooLarge(f"the upload would have {size_bytes} bytes; at most {limit_bytes} are accepted")


def _hashed(path: Path) -> Digest:
    hasher = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                hasher.update(chunk)
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from error
    return Digest(hasher.hexdigest())


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _modified_before(path: Path, moment: datetime) -> bool:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) < moment
    except OSError:
        return False
