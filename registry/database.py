"""The SQL database: opening, migrating, and the one place where sessions begin and commit.

SQLite in a file. Writers begin with BEGIN IMMEDIATE, so that two never read the same state and then both write on it;
readers run beside them (WAL). PostgreSQL gets its own branch of `open_database` and of `_locked`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from .errors import DatabaseUnavailable, UnsupportedDatabase

BUSY_TIMEOUT_S = 30
_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Two faces of one pool: `reader` begins deferred transactions, `writer` immediate ones."""

    path: Path
    reader: Engine
    writer: Engine

    @contextmanager
    def session(self) -> Iterator[Session]:
        """For writing. Commits when the block ends, rolls back when it raises; nothing else commits."""
        with _translated(self.path), Session(self.writer) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """For queries that see one state of the database. Never commits."""
        with _translated(self.path), Session(self.reader, autoflush=False) as session:
            yield session

    def close(self) -> None:
        self.reader.dispose()


def open_database(url: str) -> Database:
    """`sqlite:////absolute/file`; see `open_file`. Raises `UnsupportedDatabase` for every other address."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UnsupportedDatabase("DATABASE_URL is no database address; write sqlite:////absolute/file") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise UnsupportedDatabase(
            f"no registry in a {parsed.get_backend_name()} database of this form; supported: sqlite:////absolute/file"
        )
    return open_file(Path(parsed.database))


def open_file(path: Path) -> Database:
    """SQLite in `path`. Makes its folder; touches no table (see `migrate`)."""
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"cannot make the folder {path.parent}: {error.strerror}") from error
    reader = _engine(path)
    return Database(path=path, reader=reader, writer=reader.execution_options(immediate=True))


def _engine(path: Path, *, foreign_keys: bool = True, pooled: bool = True) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S},
        **({} if pooled else {"poolclass": NullPool}),
    )

    @event.listens_for(engine, "connect")
    def configure(connection: object, _entry: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions by itself: it would begin deferred ones, and none before DDL.
        connection.isolation_level = None  # type: ignore[attr-defined]
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What the driver reports about the file, in words that say what to do. Broken constraints are our own bugs."""
    try:
        yield
    except DBAPIError as error:
        if type(error) not in (OperationalError, DatabaseError):
            raise
        raise DatabaseUnavailable(
            f"the registry's database {path} cannot be used ({error.orig}); check that it is a registry, writable, "
            "and not held by a hanging process"
        ) from error


def migrate(database: Database) -> None:
    """Bring the tables to this version's state. Safe when several processes start at once."""
    with _translated(database.path):
        if _revision(database) == _newest():
            return
        with _locked(database) as connection:
            _upgrade(database, connection)


def _revision(database: Database) -> str | None:
    with database.reader.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _newest() -> str | None:
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head()


@contextmanager
def _locked(database: Database) -> Iterator[Connection]:
    """A connection inside a transaction that no other process migrates beside.

    SQLite's own lock does not cover the switch to WAL, hence the file lock. Foreign keys are off, because SQLite
    rebuilds tables to change them; `_upgrade` checks them before the commit.
    """
    path = database.path
    engine = _engine(path, foreign_keys=False, pooled=False).execution_options(immediate=True)
    try:
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=BUSY_TIMEOUT_S):
            driver = engine.raw_connection()
            try:
                driver.cursor().execute("PRAGMA journal_mode = WAL")
            finally:
                driver.close()
            with engine.begin() as connection:
                yield connection
    except Timeout as error:
        raise DatabaseUnavailable(f"another process has been migrating {path} for {BUSY_TIMEOUT_S} s") from error
    except OSError as error:
        raise DatabaseUnavailable(f"cannot write beside {path}: {error.strerror}") from error


def _upgrade(database: Database, connection: Connection) -> None:
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise DatabaseUnavailable(
            f"the registry's database {database.path} is of another version of this program ({error}); "
            "upgrade the program"
        ) from error
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
        raise DatabaseUnavailable(
            f"migrating {database.path} would break {len(broken)} foreign keys; nothing was changed"
        )


def alembic_config(connection: Connection) -> Config:
    """For alembic's commands on an open connection, whose transaction stays the caller's."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
