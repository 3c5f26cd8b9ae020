"""The audit, for people: who did what, when, and from which digest to which."""

from sqlalchemy import select

from .models import AuditRow
from .pages import page_of, page_size, position_of
from .registry import Registry
from .rows import audit_entry_of
from .values import AuditEntry, Page


def list_audit(
    registry: Registry,
    *,
    subject: str | None = None,
    actor: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[AuditEntry]:
    """Newest first. `subject` is a name, or a name with what follows its `@`. Raises `InvalidCursor`."""
    query = select(AuditRow)
    if subject is not None and "@" in subject:
        query = query.where(AuditRow.subject == subject)
    elif subject is not None:
        of_name = AuditRow.subject.startswith(f"{subject}@", autoescape=True)
        query = query.where((AuditRow.subject == subject) | of_name)
    if actor is not None:
        query = query.where(AuditRow.actor == actor)
    filters = ("audit", subject, actor)
    if cursor is not None:
        query = query.where(AuditRow.id < position_of(cursor, int, *filters))
    size = page_size(limit)
    with registry.database.reading() as session:
        rows = session.scalars(query.order_by(AuditRow.id.desc()).limit(size + 1))
        found = [audit_entry_of(row) for row in rows]
    return page_of(found, size, lambda entry: entry.id, *filters)
