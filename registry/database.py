"""The SQL database: opening, migrating, and the one place where sessions begin and commit.

`sqlite` and `postgres` know what differs: how a writer is kept from acting on what another is changing, and how two
processes are kept from migrating at once. Everything above sees `Database` alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from .errors import DatabaseOutdated, DatabaseUnavailable, InvalidName, UnsupportedDatabase
from .models import Table

_MIGRATIONS = Path(__file__).parent / "migrations"
LEFT_EVENT = "left_event"
_SUPPORTED = "supported: sqlite:////absolute/file and postgresql://user:password@host/database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Two faces of one pool: `writer` for what is to be committed, `reader` for queries that see one state.

    `name` is for messages and holds no password. `is_embedded` where this program alone uses it. `migrating` gives a
    connection in a transaction that no other process migrates beside. `on_event` is called, in the writer's thread,
    after each of this process's commits that left an event.
    """

    name: str
    is_embedded: bool
    reader: Engine
    writer: Engine
    migrating: Callable[[], AbstractContextManager[Connection]]
    on_event: list[Callable[[], None]] = field(default_factory=list)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """For writing. Commits when the block ends, rolls back when it raises; nothing else commits."""
        with translated(self.name), Session(self.writer) as session, session.begin():
            yield session
        if session.info.get(LEFT_EVENT):
            for told in tuple(self.on_event):
                told()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """For queries that see one state of the database. Never commits."""
        with translated(self.name), Session(self.reader, autoflush=False) as session:
            yield session

    def now(self) -> datetime:
        """By the clock that all of its servers share."""
        with self.reading() as session:
            return now_of(session)

    def close(self) -> None:
        self.reader.dispose()


def open_database(url: str) -> Database:
    """`sqlite:////absolute/file` or `postgresql://…`; touches no table. Raises `UnsupportedDatabase` for other ones."""
    from . import postgres, sqlite

    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UnsupportedDatabase(f"DATABASE_URL is no database address; {_SUPPORTED}") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return postgres.open_server(parsed)
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return sqlite.open_file(Path(parsed.database))
    raise UnsupportedDatabase(f"no registry in a {backend} database of this form; {_SUPPORTED}")


@contextmanager
def translated(name: str) -> Iterator[None]:
    """What the driver reports about the database, in words that say what to do. Broken constraints are our own bugs."""
    try:
        yield
    except (DataError, UnicodeEncodeError) as error:
        raise InvalidName("a value holds a character or a number that the database cannot keep") from error
    except DBAPIError as error:
        if type(error) not in (OperationalError, DatabaseError) and not error.connection_invalidated:
            raise
        reason = " ".join(str(error.orig).split())
        raise DatabaseUnavailable(
            f"the registry's database {name} cannot be used ({reason}); check that it is a registry, writable, "
            "and not held by a hanging process"
        ) from error
    except PoolTimeout as error:
        raise DatabaseUnavailable(f"all connections to the registry's database {name} are busy; try again") from error


def migrate(database: Database) -> None:
    """Bring the tables to this version's state. Safe when several processes start at once."""
    with translated(database.name):
        if revision_of(database) == newest_revision():
            return
        with database.migrating() as connection:
            _upgrade(database, connection)


def check_current(database: Database) -> None:
    """Raises `DatabaseOutdated` unless the tables are those of this version."""
    with translated(database.name):
        found, newest = revision_of(database), newest_revision()
    if found != newest:
        state = "has no tables yet" if found is None else f"has tables of revision {found}, not {newest}"
        raise DatabaseOutdated(
            f"the registry's database {database.name} {state}; run `glossa registry migrate` with this version once"
        )


def revision_of(database: Database) -> str | None:
    with database.reader.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head()


def _upgrade(database: Database, connection: Connection) -> None:
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise DatabaseUnavailable(
            f"the registry's database {database.name} is of another version of this program ({error}); "
            "upgrade the program"
        ) from error


def alembic_config(connection: Connection) -> Config:
    """For alembic's commands on an open connection, whose transaction stays the caller's."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def insert_if_absent(session: Session, table: type[Table], values: Mapping[str, Any]) -> bool:
    """Whether the row is new. Where its key is taken, also by a transaction that commits meanwhile, nothing happens."""
    dialect = postgresql if is_postgres(session) else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    # Of an insertion the count is not kept otherwise, and reads -1 on PostgreSQL.
    return bool(session.connection().execute(statement, execution_options={"preserve_rowcount": True}).rowcount)


def is_postgres(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def hold(session: Session, subject: str) -> None:
    """Until this transaction ends, no other one gets past `hold` of the same subject.

    On SQLite that is any other writer, from here on; on PostgreSQL an advisory lock on the subject's hash.
    """
    session.connection()  # a session begins with its first statement, and that is when SQLite locks
    if is_postgres(session):
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(subject, 0))))


def now_of(session: Session) -> datetime:
    """The database's clock, which all of its servers share."""
    if is_postgres(session):
        now: datetime = session.scalars(select(func.clock_timestamp())).one()
        return now.astimezone(UTC)
    return datetime.now(UTC)
