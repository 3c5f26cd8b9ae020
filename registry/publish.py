"""The only way a version comes into being: blob, verify, row.

Stage (temporary file, hashed on the way) -> gate -> final key -> read back -> one transaction with version, audit and
event. A crash anywhere before the commit leaves an orphaned file or blob, never a row without its bytes.
"""

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from madx.config import BackboneConfig
from madx.errors import InvalidWeights
from madx.manifest import Manifest, digest_of

from . import gate, journal
from .errors import BlobTooLarge, Conflict
from .models import AdapterRow, VersionRow
from .references import check_name
from .refusals import DigestMismatch
from .registry import Registry
from .rows import backbone_of, version_of
from .selection import find_backbone
from .stores.base import verify
from .values import PublishedVersion


def publish(
    registry: Registry,
    manifest_bytes: bytes,
    weights: Path | BinaryIO,
    *,
    name: str,
    actor: str = journal.LOCAL_ACTOR,
) -> PublishedVersion:
    """Publish under `name`, as its next number. The same manifest under the same name gives the version it has already.

    Raises `InvalidName`, `InvalidManifest`, `UnknownBackbone`, `InvalidWeights`, and `Conflict` where `name` stands for
    another kind, language or task. `weights` is read once, from where it stands.
    """
    check_name(name)
    manifest = gate.check_manifest(manifest_bytes)
    backbone = _refuse_early(registry, manifest, name)
    with _opened(weights) as stream:
        _store(registry, manifest, stream, backbone)
    with registry.database.session() as session:
        return _commit(session, manifest, manifest_bytes, name=name, actor=actor)


def _opened(weights: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if not isinstance(weights, Path):
        return nullcontext(weights)
    try:
        return weights.open("rb")
    except OSError as error:
        raise InvalidWeights(f"cannot read {weights}: {error.strerror}") from error


def _refuse_early(registry: Registry, manifest: Manifest, name: str) -> BackboneConfig:
    """Whatever can be refused without the weights is, before a byte of them is read."""
    with registry.database.reading() as session:
        backbone = backbone_of(find_backbone(session, manifest.backbone.fingerprint)).config
        adapter = session.get(AdapterRow, name)
        if adapter is not None:
            _check_same(adapter, manifest)
    largest = gate.largest_file_bytes(manifest, backbone)
    if manifest.weights.size_bytes > largest:
        raise DigestMismatch(
            f"the manifest names weights of {manifest.weights.size_bytes} bytes; "
            f"its configuration needs no more than {largest}"
        )
    return backbone


def _check_same(adapter: AdapterRow, manifest: Manifest) -> None:
    stands = {"kind": adapter.kind, "language": adapter.language, "task": adapter.task}
    comes = {"kind": manifest.kind, "language": manifest.language, "task": manifest.task}
    for part, value in stands.items():
        if comes[part] != value:
            raise Conflict(
                f"adapter {adapter.name!r} has {part} {value!r} for ever, this version has {comes[part]!r}; "
                "publish it under another name"
            )


def _store(registry: Registry, manifest: Manifest, stream: BinaryIO, backbone: BackboneConfig) -> None:
    store = registry.store
    try:
        staged = store.stage(stream, limit_bytes=manifest.weights.size_bytes)
    except BlobTooLarge as error:
        raise DigestMismatch(
            f"the weights are longer than the {manifest.weights.size_bytes} bytes that the manifest names"
        ) from error
    try:
        gate.check_weights(staged.path, manifest, backbone)
        store.commit(staged)
    finally:
        store.discard(staged)
    verify(store, staged.blob)


def _commit(session: Session, manifest: Manifest, content: bytes, *, name: str, actor: str) -> PublishedVersion:
    adapter = session.get(AdapterRow, name, with_for_update=True)
    now = datetime.now(UTC)
    if adapter is None:
        adapter = AdapterRow(
            name=name, kind=manifest.kind, language=manifest.language, task=manifest.task, created_at=now
        )
        session.add(adapter)
        session.flush()
    _check_same(adapter, manifest)
    digest = digest_of(content)
    row = session.scalar(select(VersionRow).where(VersionRow.adapter == name, VersionRow.manifest_digest == digest))
    if row is not None and row.deleted_at is None:
        return PublishedVersion(version=version_of(adapter, row), created=False)
    created = row is None
    if row is None:
        newest = session.scalar(select(func.max(VersionRow.number)).where(VersionRow.adapter == name))
        row = _row(manifest, content, name=name, number=(newest or 0) + 1, now=now)
        session.add(row)
    row.deleted_at = None
    journal.record(
        session,
        actor=actor,
        action="version.published" if created else "version.restored",
        subject=f"{name}@{row.number}",
        kind=manifest.kind,
        language=manifest.language,
        task=manifest.task,
        fingerprint=manifest.backbone.fingerprint,
    )
    session.flush()
    return PublishedVersion(version=version_of(adapter, row), created=created)


def _row(manifest: Manifest, content: bytes, *, name: str, number: int, now: datetime) -> VersionRow:
    return VersionRow(
        adapter=name,
        number=number,
        manifest=content,
        manifest_digest=digest_of(content),
        weights_digest=manifest.weights.digest,
        size_bytes=manifest.weights.size_bytes,
        fingerprint=manifest.backbone.fingerprint,
        created_at=now,
    )
