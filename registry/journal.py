"""Audit and events, written in the transaction of the change they tell of: either all three are there or none."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from .database import LEFT_EVENT, hold
from .models import AuditRow, EventRow

LOCAL_ACTOR = "local"


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    from_digest: str | None = None,
    to_digest: str | None = None,
    **detail: str | int | None,
) -> None:
    """The last thing that a transaction does: it keeps every other writer from recording until it has ended.

    So events appear in the order of their ids, and a reader that goes on from the last one it saw misses none.
    """
    hold(session, "journal")
    now = datetime.now(UTC)
    session.add(
        AuditRow(
            at=now,
            actor=actor,
            action=action,
            subject=subject,
            from_digest=from_digest,
            to_digest=to_digest,
            detail=dict(detail),
        )
    )
    session.add(EventRow(at=now, action=action, subject=subject, detail=dict(detail)))
    session.flush()
    session.info[LEFT_EVENT] = True
