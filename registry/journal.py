"""Audit and events, written in the transaction of the change they tell of: either all three are there or none."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from .models import AuditRow, EventRow

LOCAL_ACTOR = "local"


def record(session: Session, *, actor: str, action: str, subject: str, **detail: str | int | None) -> None:
    now = datetime.now(UTC)
    session.add(AuditRow(at=now, actor=actor, action=action, subject=subject, detail=dict(detail)))
    session.add(EventRow(at=now, action=action, subject=subject, detail=dict(detail)))
