"""The only way a version comes into being: blob, verify, row.

`prepare` refuses what can be refused without the weights; then they are staged (a temporary file, hashed on the way)
and `publish_staged` does the rest: gate -> lease -> final key -> read back -> one transaction with version, lineage,
audit and event. A crash anywhere before the commit leaves a temporary file or a leased blob, never a row without its
bytes.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from madx.errors import InvalidWeights
from madx.manifest import Digest, Manifest, digest_of
from madx.shapes import Shape

from . import gate, journal
from .database import insert_if_absent
from .errors import BlobCorrupt, BlobTooLarge, Conflict, StoreUnavailable, UnknownBlob
from .leases import give_up, leased
from .lineage import add_lineage, check_names
from .models import AdapterRow, VersionRow
from .references import check_name
from .refusals import DigestMismatch
from .registry import Registry
from .rows import backbone_of, version_of
from .selection import find_backbone
from .stores import Blob, BlobStore, Staged
from .stores.base import verify
from .values import PublishedVersion, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A manifest that passed the gate, with what its weights must hold. `present` is the version it has already."""

    name: str
    manifest: Manifest
    content: bytes
    expected: Mapping[str, Shape]
    present: Version | None


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
    prepared = prepare(registry, manifest_bytes, name=name)
    with _opened(weights) as stream:
        try:
            staged = registry.store.stage(stream, limit_bytes=prepared.manifest.weights.size_bytes)
        except BlobTooLarge as error:
            raise too_long(prepared) from error
    return publish_staged(registry, prepared, staged, actor=actor)


def prepare(registry: Registry, manifest_bytes: bytes, *, name: str) -> Prepared:
    """Whatever can be refused without the weights is, before a byte of them is read. Raises as `publish` does."""
    check_name(name)
    manifest = gate.check_manifest(manifest_bytes)
    check_names(manifest)
    with registry.database.reading() as session:
        backbone = backbone_of(find_backbone(session, manifest.backbone.fingerprint)).config
        adapter = session.get(AdapterRow, name)
        present = None
        if adapter is not None:
            _check_same(adapter, manifest)
            row = _find(session, name, digest_of(manifest_bytes))
            present = version_of(adapter, row) if row is not None and row.deleted_at is None else None
    largest = gate.largest_file_bytes(manifest, backbone)
    if manifest.weights.size_bytes > largest:
        raise DigestMismatch(
            f"the manifest names weights of {manifest.weights.size_bytes} bytes; "
            f"its configuration needs no more than {largest}"
        )
    expected = gate.expected_shapes(manifest, backbone)
    return Prepared(name=name, manifest=manifest, content=manifest_bytes, expected=expected, present=present)


def publish_staged(
    registry: Registry, prepared: Prepared, staged: Staged, *, actor: str = journal.LOCAL_ACTOR
) -> PublishedVersion:
    """The second half of `publish`; `staged` is used up whatever happens. Raises as `publish` does."""
    store = registry.store
    try:
        registry.gatekeeper.check_weights(staged.path, prepared.expected)
        _check_content(prepared, staged)
        with leased(registry.database, staged.blob.digest, actor=actor) as lease:
            is_healing = prepared.present is not None and not _is_sound(store, staged.blob)
            store.commit(staged)
            verify(store, staged.blob)
            with registry.database.session() as session:
                give_up(session, lease)
                return _commit(session, prepared, actor=actor, is_healing=is_healing)
    finally:
        store.discard(staged)


def too_long(prepared: Prepared) -> DigestMismatch:
    size_bytes = prepared.manifest.weights.size_bytes
    return DigestMismatch(f"the weights are longer than the {size_bytes} bytes that the manifest names")


def _opened(weights: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if not isinstance(weights, Path):
        return nullcontext(weights)
    try:
        return weights.open("rb")
    except OSError as error:
        raise InvalidWeights(f"cannot read {weights}: {error.strerror}") from error


def _check_same(adapter: AdapterRow, manifest: Manifest) -> None:
    stands = {"kind": adapter.kind, "language": adapter.language, "task": adapter.task}
    comes = {"kind": manifest.kind, "language": manifest.language, "task": manifest.task}
    for part, value in stands.items():
        if comes[part] != value:
            raise Conflict(
                f"adapter {adapter.name!r} has {part} {value!r} for ever, this version has {comes[part]!r}; "
                "publish it under another name"
            )


def _check_content(prepared: Prepared, staged: Staged) -> None:
    """By the hash that was made while the bytes came in."""
    named, found = prepared.manifest.weights, staged.blob
    if found.size_bytes != named.size_bytes:
        raise DigestMismatch(f"the weights have {found.size_bytes} bytes, the manifest names {named.size_bytes}")
    if found.digest != named.digest:
        raise DigestMismatch(f"the weights have sha256 {found.digest}, the manifest names {named.digest}")


def _is_sound(store: BlobStore, blob: Blob) -> bool:
    """Reads all of it."""
    try:
        verify(store, blob)
    except (UnknownBlob, BlobCorrupt, StoreUnavailable):
        return False
    return True


def _find(session: Session, name: str, digest: Digest) -> VersionRow | None:
    return session.scalar(select(VersionRow).where(VersionRow.adapter == name, VersionRow.manifest_digest == digest))


def _commit(session: Session, prepared: Prepared, *, actor: str, is_healing: bool) -> PublishedVersion:
    """One that is there already changes nothing; that its weights were healed is told to who could not read them."""
    manifest, name = prepared.manifest, prepared.name
    adapter = _adapter_row(session, prepared)
    row = _find(session, name, digest_of(prepared.content))
    if row is not None and row.deleted_at is None:
        if is_healing:
            subject = f"{name}@{row.number}"
            journal.record(
                session, actor=actor, action="version.healed", subject=subject, to_digest=row.manifest_digest
            )
        return PublishedVersion(version=version_of(adapter, row), created=False)
    created = row is None
    if row is None:
        newest = session.scalar(select(func.max(VersionRow.number)).where(VersionRow.adapter == name))
        row = _row(prepared, number=(newest or 0) + 1)
        session.add(row)
        session.flush()
        add_lineage(session, manifest, name=name, number=row.number)
    row.deleted_at = row.purged_at = None
    session.flush()
    journal.record(
        session,
        actor=actor,
        action="version.published" if created else "version.restored",
        subject=f"{name}@{row.number}",
        to_digest=row.manifest_digest,
        kind=manifest.kind,
        language=manifest.language,
        task=manifest.task,
        fingerprint=manifest.backbone.fingerprint,
    )
    return PublishedVersion(version=version_of(adapter, row), created=created)


def _adapter_row(session: Session, prepared: Prepared) -> AdapterRow:
    """Locked, so that two who publish under one name number their versions one after the other."""
    manifest = prepared.manifest
    stands = {"kind": manifest.kind, "language": manifest.language, "task": manifest.task}
    insert_if_absent(session, AdapterRow, {"name": prepared.name, "created_at": datetime.now(UTC), **stands})
    adapter = session.get_one(AdapterRow, prepared.name, with_for_update=True)
    _check_same(adapter, manifest)
    return adapter


def _row(prepared: Prepared, *, number: int) -> VersionRow:
    manifest = prepared.manifest
    return VersionRow(
        adapter=prepared.name,
        number=number,
        manifest=prepared.content,
        manifest_digest=digest_of(prepared.content),
        weights_digest=manifest.weights.digest,
        size_bytes=manifest.weights.size_bytes,
        fingerprint=manifest.backbone.fingerprint,
        job=manifest.job,
        created_at=datetime.now(UTC),
    )
