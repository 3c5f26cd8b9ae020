"""One adapter's versions: looking at them, deleting them softly and bringing them back."""

from sqlalchemy import select

from . import journal
from .database import now_of
from .errors import Conflict, WeightsCollected
from .models import AliasRow, DefaultRow, VersionRow
from .references import AdapterRef
from .registry import Registry
from .rows import version_of
from .selection import find_adapter, find_row, find_version
from .values import Version


def get_version(registry: Registry, name: str, number: int) -> Version:
    """Deleted or not. Raises `UnknownAdapter` or `UnknownVersion`."""
    with registry.database.reading() as session:
        return version_of(find_adapter(session, name), find_row(session, name, number))


def delete_version(registry: Registry, name: str, number: int, *, actor: str = journal.LOCAL_ACTOR) -> None:
    """Softly: the row and its number stay; `restore_version` or publishing the same content brings it back.

    Raises `Conflict` while an alias or a default names the version.
    """
    with registry.database.session() as session:
        find_adapter(session, name, lock=True)
        version = find_version(session, AdapterRef(name=name, number=number), None)
        aliases = session.scalars(
            select(AliasRow.alias).where(AliasRow.adapter == name, AliasRow.number == number)
        ).all()
        defaults = session.scalars(
            select(DefaultRow.key).where(DefaultRow.adapter == name, DefaultRow.selector == str(number))
        ).all()
        if aliases or defaults:
            holders = [*(f"alias {alias}" for alias in aliases), *(f"the default for {key}" for key in defaults)]
            raise Conflict(f"{name}@{number} is still named by {', '.join(holders)}; move that first")
        session.get_one(VersionRow, (name, number)).deleted_at = now_of(session)
        journal.record(
            session,
            actor=actor,
            action="version.deleted",
            subject=f"{name}@{number}",
            from_digest=version.manifest_digest,
        )


def restore_version(registry: Registry, name: str, number: int, *, actor: str = journal.LOCAL_ACTOR) -> Version:
    """Undo a deletion. One that is live stays as it is. Raises `WeightsCollected` where it has lost its weights."""
    with registry.database.session() as session:
        adapter = find_adapter(session, name, lock=True)
        row = find_row(session, name, number)
        if row.purged_at is not None:
            raise WeightsCollected(
                f"the weights of {name}@{number} have been collected; publish the same content again"
            )
        if row.deleted_at is not None:
            row.deleted_at = None
            journal.record(
                session,
                actor=actor,
                action="version.restored",
                subject=f"{name}@{number}",
                to_digest=row.manifest_digest,
            )
        return version_of(adapter, row)
