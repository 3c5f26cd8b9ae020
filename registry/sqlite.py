"""SQLite in a file, the embedded database.

Writers begin with BEGIN IMMEDIATE, so that two never read the same state and then both write on it; readers run beside
them (WAL).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from .database import Database
from .errors import DatabaseUnavailable

BUSY_TIMEOUT_S = 30


def open_file(path: Path) -> Database:
    """Makes the file's folder; touches no table."""
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"cannot make the folder {path.parent}: {error.strerror}") from error
    reader = _engine(path)
    return Database(
        name=str(path),
        is_embedded=True,
        reader=reader,
        writer=reader.execution_options(immediate=True),
        migrating=lambda: _migrating(path),
    )


def _engine(path: Path, *, foreign_keys: bool = True, pooled: bool = True) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S},
        # Threads wait for the one writer in SQLite itself, which has a limit of time, not for a place in the pool.
        **({"max_overflow": -1} if pooled else {"poolclass": NullPool}),
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
def _migrating(path: Path) -> Iterator[Connection]:
    """SQLite's own lock does not cover the switch to WAL, hence the file lock.

    Foreign keys are off, because SQLite rebuilds tables to change them; they are checked before the commit.
    """
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
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                    raise DatabaseUnavailable(
                        f"migrating {path} would break {len(broken)} foreign keys; nothing was changed"
                    )
    except Timeout as error:
        raise DatabaseUnavailable(f"another process has been migrating {path} for {BUSY_TIMEOUT_S} s") from error
    except OSError as error:
        raise DatabaseUnavailable(f"cannot write beside {path}: {error.strerror}") from error
