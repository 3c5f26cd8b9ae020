"""What SQL says of one adapter, held against itself: versions, lineage, aliases, defaults, and the audit of all that.

Pure reading inside `fsck`'s session, one adapter in one transaction, so that whoever writes meanwhile is seen before or
after, never in between.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from madx.errors import GlossaError
from madx.manifest import Manifest, digest_of, from_bytes

from .lineage import LineageRows, lineage_rows, stored_lineage
from .models import AdapterRow, AliasMoveRow, AliasRow, AuditRow, DefaultRow, VersionRow

_AT_ONCE = 500
_RESTORE = "restore the database from a backup"
_WHO_WRITES = "find out who writes to the database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`code` is stable, `subject` a reference, a digest or a file. What is not `is_broken` is for information."""

    code: str
    subject: str
    message: str
    is_broken: bool = True
    is_repaired: bool = False


def check_adapter(session: Session, adapter: AdapterRow, versions: Sequence[VersionRow]) -> Iterator[Finding]:
    """`versions` are all of it, ascending, deleted ones too."""
    numbers = [row.number for row in versions]
    if numbers != list(range(1, len(numbers) + 1)):
        lacking = sorted(set(range(1, max(numbers) + 1)) - set(numbers))
        yield Finding(
            code="number_gap",
            subject=adapter.name,
            message=f"versions {', '.join(map(str, lacking))} have no row: somebody deleted rows by hand; {_RESTORE}",
        )
    lineage = stored_lineage(session, adapter.name)
    for row in versions:
        yield from _check_version(adapter, row, lineage.get(row.number))
    yield from _check_published(session, versions)
    live = {row.number for row in versions if row.deleted_at is None}
    yield from _check_aliases(session, adapter.name, live)
    for default in session.scalars(select(DefaultRow).where(DefaultRow.adapter == adapter.name)):
        if default.selector is not None and default.selector.isdigit() and int(default.selector) not in live:
            yield Finding(
                code="default_target",
                subject=f"{adapter.name}@{default.selector}",
                message=f"the default for {default.key} names a version that is not live; set it anew",
            )


def _check_version(adapter: AdapterRow, row: VersionRow, lineage: LineageRows | None) -> Iterator[Finding]:
    reference = f"{row.adapter}@{row.number}"
    if digest_of(row.manifest) != row.manifest_digest:
        yield Finding(
            code="manifest_digest",
            subject=reference,
            message=f"its manifest does not have digest {row.manifest_digest}; {_RESTORE}",
        )
    try:
        manifest = from_bytes(row.manifest)
    except GlossaError as error:
        yield Finding(code="manifest_unreadable", subject=reference, message=f"{error}; {_RESTORE}")
        return
    differing = _differing(adapter, row, manifest)
    if differing:
        yield Finding(
            code="manifest_differs",
            subject=reference,
            message=f"its row has another {', '.join(differing)} than its manifest; {_RESTORE}",
        )
    if (lineage or LineageRows()) != lineage_rows(manifest):
        yield Finding(
            code="lineage_differs",
            subject=reference,
            message="its labels, data or parents can be searched for in another form than its manifest has; "
            "`glossa fsck --repair` writes them anew",
        )


def _differing(adapter: AdapterRow, row: VersionRow, manifest: Manifest) -> list[str]:
    pairs = {
        "kind": (adapter.kind, manifest.kind),
        "language": (adapter.language, manifest.language),
        "task": (adapter.task, manifest.task),
        "fingerprint": (row.fingerprint, manifest.backbone.fingerprint),
        "weights digest": (row.weights_digest, manifest.weights.digest),
        "size": (row.size_bytes, manifest.weights.size_bytes),
        "job": (row.job, manifest.job),
    }
    return [name for name, (stored, said) in pairs.items() if stored != said]


def _check_published(session: Session, versions: Sequence[VersionRow]) -> Iterator[Finding]:
    """Each version has the audit row of its publication. The oldest audits hold no digest."""
    by_subject = {f"{row.adapter}@{row.number}": row.manifest_digest for row in versions}
    audited: set[str] = set()
    for some in _portions(list(by_subject)):
        query = select(AuditRow.subject, AuditRow.to_digest).where(
            AuditRow.subject.in_(some), AuditRow.action == "version.published"
        )
        audited |= {subject for subject, digest in session.execute(query) if digest in (None, by_subject[subject])}
    for subject in by_subject.keys() - audited:
        yield Finding(
            code="audit_missing", subject=subject, message=f"nothing in the audit says who published it; {_WHO_WRITES}"
        )


def _check_aliases(session: Session, name: str, live: set[int]) -> Iterator[Finding]:
    moves: dict[str, list[AliasMoveRow]] = {}
    history = select(AliasMoveRow).where(AliasMoveRow.adapter == name).order_by(AliasMoveRow.revision)
    for move in session.scalars(history):
        moves.setdefault(move.alias, []).append(move)
    aliases = session.scalars(select(AliasRow).where(AliasRow.adapter == name).order_by(AliasRow.alias)).all()
    audited = _audited_moves(session, [f"{name}@{alias.alias}" for alias in aliases])
    for alias in aliases:
        reference = f"{name}@{alias.alias}"
        if alias.number is not None and alias.number not in live:
            yield Finding(
                code="alias_target",
                subject=reference,
                message=f"it points at {name}@{alias.number}, which is not live; move it",
            )
        own = moves.get(alias.alias, [])
        if [move.revision for move in own] != list(range(1, alias.revision + 1)) or own[-1].number != alias.number:
            yield Finding(
                code="alias_history",
                subject=reference,
                message=f"its history of {len(own)} moves does not lead to revision {alias.revision} "
                f"at version {alias.number}; {_WHO_WRITES}",
            )
        if audited[reference] != alias.revision:
            yield Finding(
                code="audit_missing",
                subject=reference,
                message=f"the audit knows {audited[reference]} of its {alias.revision} moves; {_WHO_WRITES}",
            )


def _audited_moves(session: Session, subjects: list[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for some in _portions(subjects):
        query = (
            select(AuditRow.subject, func.count())
            .where(AuditRow.subject.in_(some), AuditRow.action.in_(("alias.moved", "alias.removed")))
            .group_by(AuditRow.subject)
        )
        for subject, count in session.execute(query):
            found[subject] = count
    return found


def _portions(subjects: list[str]) -> Iterator[list[str]]:
    """Databases bound how many values one statement takes."""
    return (subjects[start : start + _AT_ONCE] for start in range(0, len(subjects), _AT_ONCE))
