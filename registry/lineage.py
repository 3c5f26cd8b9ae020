"""Where a version comes from: backbone, data, job and parents, copied out of its manifest to be searched."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from madx.errors import InvalidManifest
from madx.manifest import DataRef, Manifest, from_bytes, is_digest

from .models import DatasetRow, LabelRow, ParentRow, VersionRow
from .registry import Registry
from .selection import find_adapter, find_row

_LONGEST_NAME = 200
_LONGEST_LANGUAGE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What a version was made from, and what was made from it.

    `parents` are digests of manifests with the references they have in this registry, `children` references.
    """

    reference: str
    digest: str
    fingerprint: str
    fingerprint_source: str
    method: str
    job: str | None
    datasets: tuple[DataRef, ...]
    parents: dict[str, tuple[str, ...]]
    children: tuple[str, ...]


def check_names(manifest: Manifest) -> None:
    """The texts that become columns must fit them. Raises `InvalidManifest` naming the field."""
    texts = {f"datasets.{i}.name": data.name for i, data in enumerate(manifest.datasets)}
    texts |= {f"datasets.{i}.split": data.split for i, data in enumerate(manifest.datasets)}
    texts |= {f"head.labels.{i}": label for i, label in enumerate(manifest.head.labels if manifest.head else ())}
    if manifest.job is not None:
        texts["job"] = manifest.job
    for field, value in texts.items():
        if not 1 <= len(value) <= _LONGEST_NAME or not value.isprintable():
            raise InvalidManifest(f"{field} must be 1 to {_LONGEST_NAME} printable characters")
    if manifest.language is not None and len(manifest.language) > _LONGEST_LANGUAGE:
        raise InvalidManifest(f"language must have at most {_LONGEST_LANGUAGE} characters")
    digests = {f"datasets.{i}.digest": data.digest for i, data in enumerate(manifest.datasets)}
    digests |= {f"parents.{i}": parent for i, parent in enumerate(manifest.parents)}
    for field, value in digests.items():
        if not is_digest(value):
            raise InvalidManifest(f"{field} must be a sha256 of 64 lower-case hexadecimal digits")


def add_lineage(session: Session, manifest: Manifest, *, name: str, number: int) -> None:
    """The rows beside a new version's row."""
    version = {"adapter": name, "number": number}
    labels = manifest.head.labels if manifest.head is not None else ()
    session.add_all(
        LabelRow(label=label, position=position, **version) for position, label in enumerate(dict.fromkeys(labels))
    )
    session.add_all(ParentRow(parent=parent, **version) for parent in dict.fromkeys(manifest.parents))
    session.add_all(
        DatasetRow(position=position, name=data.name, split=data.split, digest=data.digest, **version)
        for position, data in enumerate(manifest.datasets)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageRows:
    """What is beside one version's row. `datasets` are name, split and digest, in the manifest's order."""

    labels: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    datasets: tuple[tuple[str, str, str], ...] = ()


def lineage_rows(manifest: Manifest) -> LineageRows:
    """What should be there."""
    return LineageRows(
        labels=frozenset(manifest.head.labels if manifest.head is not None else ()),
        parents=frozenset(manifest.parents),
        datasets=tuple((data.name, data.split, data.digest) for data in manifest.datasets),
    )


def stored_lineage(session: Session, name: str) -> dict[int, LineageRows]:
    """What is there, by version; a version without any is left out."""
    labels: dict[int, set[str]] = {}
    for label in session.scalars(select(LabelRow).where(LabelRow.adapter == name)):
        labels.setdefault(label.number, set()).add(label.label)
    parents: dict[int, set[str]] = {}
    for parent in session.scalars(select(ParentRow).where(ParentRow.adapter == name)):
        parents.setdefault(parent.number, set()).add(parent.parent)
    datasets: dict[int, list[tuple[str, str, str]]] = {}
    for data in session.scalars(select(DatasetRow).where(DatasetRow.adapter == name).order_by(DatasetRow.position)):
        datasets.setdefault(data.number, []).append((data.name, data.split, data.digest))
    return {
        number: LineageRows(
            labels=frozenset(labels.get(number, ())),
            parents=frozenset(parents.get(number, ())),
            datasets=tuple(datasets.get(number, ())),
        )
        for number in {*labels, *parents, *datasets}
    }


def rebuild_lineage(session: Session, name: str, number: int) -> None:
    """Write the rows anew from the manifest."""
    manifest = from_bytes(find_row(session, name, number).manifest)
    for table in (LabelRow, ParentRow, DatasetRow):
        session.execute(delete(table).where(table.adapter == name, table.number == number))
    add_lineage(session, manifest, name=name, number=number)


def lineage_of(registry: Registry, name: str, number: int) -> Lineage:
    """Raises `UnknownAdapter` or `UnknownVersion`; a deleted version has its lineage still."""
    with registry.database.reading() as session:
        find_adapter(session, name)
        row = find_row(session, name, number)
        manifest = from_bytes(row.manifest)
        return Lineage(
            reference=f"{name}@{number}",
            digest=row.manifest_digest,
            fingerprint=row.fingerprint,
            fingerprint_source=manifest.backbone.fingerprint_source,
            method=manifest.method,
            job=row.job,
            datasets=manifest.datasets,
            parents={parent: _named(session, parent) for parent in manifest.parents},
            children=_children(session, row.manifest_digest),
        )


def _named(session: Session, digest: str) -> tuple[str, ...]:
    query = select(VersionRow.adapter, VersionRow.number).where(VersionRow.manifest_digest == digest)
    return tuple(f"{name}@{number}" for name, number in session.execute(query.order_by(VersionRow.adapter)))


def _children(session: Session, digest: str) -> tuple[str, ...]:
    query = select(ParentRow.adapter, ParentRow.number).where(ParentRow.parent == digest)
    return tuple(
        f"{name}@{number}" for name, number in session.execute(query.order_by(ParentRow.adapter, ParentRow.number))
    )
