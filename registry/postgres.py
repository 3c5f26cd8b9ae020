"""PostgreSQL, for several servers on one registry. Driver: psycopg 3.

Readers get a snapshot (repeatable read, read only); writers lock the rows that they decide on.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, Engine

from .database import Database

CONNECT_TIMEOUT_S = 10
SILENCE_S = 30
"""After so long without a sign of the database's machine a connection is given up; TCP by itself waits for hours."""
_PROBES = 4
LOCK_TIMEOUT_S = 30
_CONNECTIONS = 40  # as many as a server has worker threads
_MIGRATION_LOCK = 7_065_137_046_117_001  # any number that nothing else in the database takes


def open_server(url: URL) -> Database:
    """Connects to nothing yet. Raises `UnsupportedDatabase` where a driver other than psycopg is asked for."""
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=5,
        max_overflow=_CONNECTIONS - 5,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": SILENCE_S // 3,
            "keepalives_interval": SILENCE_S * 2 // 3 // _PROBES,
            "keepalives_count": _PROBES,
            "tcp_user_timeout": SILENCE_S * 1_000,
            "options": f"-c lock_timeout={LOCK_TIMEOUT_S}s -c timezone=UTC",
        },
    )
    return Database(
        name=url.render_as_string(hide_password=True),
        is_embedded=False,
        reader=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        writer=engine.execution_options(isolation_level="READ COMMITTED"),
        migrating=lambda: _migrating(engine),
    )


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """PostgreSQL changes tables inside transactions, so a failed migration leaves nothing behind."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        yield connection
