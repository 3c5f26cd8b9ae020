"""A PostgreSQL for tests and benchmarks, also as root: TEST_DATABASE_URL, else the system's programs, else `pgserver`.

`postgres_server` gives the address of a server that this process starts and ends; `fresh_database` makes an empty
database on it, with this version's tables in it, by copying a template.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from registry.database import migrate, open_database

_TEMPLATE = "glossa_template"
_RESTART_S = 60
_SETTINGS = "-c fsync=off -c listen_addresses='' -c max_connections=300 -c shared_buffers=64MB"


@contextmanager
def postgres_server() -> Iterator[URL]:
    """The address of a server's `postgres` database. Its data is gone afterwards."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield make_url(given)
        return
    programs = _programs()
    # Short, because the path of a socket is: 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="glossa-pg-", dir="/tmp"))
    try:
        prefix: list[str | Path] = [*_as_somebody_else(folder)]
        _run([*prefix, programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"])
        _run(_start_command(folder))
        try:
            yield URL.create("postgresql", username="postgres", database="postgres", query={"host": str(folder)})
        finally:
            _run([*_control(folder), "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kill_server(server: URL) -> None:
    """As the machine's memory killer does: SIGKILL, so that nothing is written that was not written before."""
    os.kill(int((_folder(server) / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def restart_server(server: URL) -> None:
    """After `kill_server`. The old one's children may take a moment to notice, and no new one starts before."""
    deadline = time.monotonic() + _RESTART_S
    while True:
        try:
            return _run(_start_command(_folder(server)))
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _folder(server: URL) -> Path:
    folder = server.query["host"]
    assert isinstance(folder, str)
    return Path(folder)


def _control(folder: Path) -> list[str | Path]:
    return [*_as_somebody_else(folder), _programs() / "pg_ctl", "-D", folder / "data", "-w", "-t", "60"]


def _start_command(folder: Path) -> list[str | Path]:
    return [*_control(folder), "-l", folder / "log", "-o", f"{_SETTINGS} -k {folder}", "start"]


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    spec = find_spec("pgserver")  # importing it would look for a place for servers of its own
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL: install its server, or the wheel `pgserver`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _as_somebody_else(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    import pwd

    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={name}", f"--regid={user.pw_gid}", "--clear-groups", "env", f"HOME={folder}"]
    raise RuntimeError("root, and no other user to run PostgreSQL as; set TEST_DATABASE_URL")


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")


def make_template(server: URL) -> None:
    _execute(server, f"DROP DATABASE IF EXISTS {_TEMPLATE}", f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
    database = open_database(_address(server, _TEMPLATE))
    migrate(database)
    database.close()


@contextmanager
def fresh_database(server: URL, *, migrated: bool = True) -> Iterator[str]:
    """The DATABASE_URL of a new database on `server`, which is dropped afterwards."""
    name = f"glossa_{secrets.token_hex(6)}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if migrated else 'template0'}")
    try:
        yield _address(server, name)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _address(server: URL, name: str) -> str:
    return server.set(database=name).render_as_string(hide_password=False)


def _execute(server: URL, *statements: str) -> None:
    engine = create_engine(
        server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
