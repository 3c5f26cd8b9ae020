"""Opening, migrating, sessions: what the database promises to everything above it."""

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError, InternalError, StatementError

from benchmarks.servers.postgres import fresh_database
from registry.database import alembic_config, hold, insert_if_absent, migrate, open_database
from registry.errors import DatabaseOutdated, DatabaseUnavailable, UnsupportedDatabase, UnsupportedStore
from registry.models import BackboneRow, DefaultRow, LabelRow, ReplyRow
from registry.postgres import SILENCE_S
from registry.registry import Registry, open_registry
from registry.selection import find_adapter
from registry.sqlite import open_file
from registry.stores import open_store
from registry.stores.local import LocalStore
from tests.support.made_adapters import add_made_backbone, publish_made


def row(fingerprint: str, created_at: datetime | None = None) -> BackboneRow:
    return BackboneRow(
        fingerprint=fingerprint, name="x", config={}, masked_lm=True, created_at=created_at or datetime.now(UTC)
    )


def test_the_migrations_make_the_tables_of_the_models(empty_registry: Registry) -> None:
    with empty_registry.database.reader.connect() as connection:
        command.check(alembic_config(connection))


def test_the_check_sees_a_difference(empty_registry: Registry) -> None:
    with empty_registry.database.session() as session:
        session.execute(text("DROP INDEX ix_backbones_name"))
    with empty_registry.database.reader.connect() as connection, pytest.raises(Exception, match="ix_backbones_name"):
        command.check(alembic_config(connection))


def test_migrations_go_back(empty_registry: Registry) -> None:
    with empty_registry.database.writer.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert inspect(empty_registry.database.reader).get_table_names() == ["alembic_version"]
    migrate(empty_registry.database)
    assert "versions" in inspect(empty_registry.database.reader).get_table_names()


def test_every_constraint_has_its_name(empty_registry: Registry) -> None:
    found = inspect(empty_registry.database.reader)
    names = {found.get_pk_constraint("versions")["name"]}
    for constraints in (found.get_foreign_keys, found.get_unique_constraints, found.get_check_constraints):
        names |= {constraint["name"] for constraint in constraints("versions")}
    assert names == {
        "pk_versions",
        "fk_versions_adapter_adapters",
        "fk_versions_fingerprint_backbones",
        "uq_versions_adapter_manifest_digest",
        "ck_versions_number",
        "ck_versions_purged",
        "ck_versions_size_bytes",
    }


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    with open_file(tmp_path / "a file?with%odd name" / "registry.sqlite").reader.connect():
        pass
    first = open_registry(tmp_path)
    with first.database.session() as session:
        session.add(row("a" * 64))
    first.close()
    second = open_registry(tmp_path)
    with second.database.reading() as session:
        assert session.get_one(BackboneRow, "a" * 64).created_at.tzinfo is UTC
    second.close()


def test_a_session_commits_all_or_nothing(empty_registry: Registry) -> None:
    def write_and_fail() -> None:
        with empty_registry.database.session() as session:
            session.add(row("a" * 64))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with empty_registry.database.reading() as session:
        assert session.get(BackboneRow, "a" * 64) is None


def test_reading_never_commits(empty_registry: Registry) -> None:
    with suppress(InternalError), empty_registry.database.reading() as session:
        session.add(row("a" * 64))
        session.flush()  # PostgreSQL refuses even this
    with empty_registry.database.reading() as session:
        assert session.get(BackboneRow, "a" * 64) is None


def test_foreign_keys_hold(empty_registry: Registry) -> None:
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"), empty_registry.database.session() as session:
        session.add(
            DefaultRow(kind="task", key="ner", fingerprint="0" * 64, adapter="nobody", set_at=datetime.now(UTC))
        )


def test_a_time_without_zone_is_refused(empty_registry: Registry) -> None:
    with pytest.raises(StatementError, match="zone"), empty_registry.database.session() as session:
        session.add(row("a" * 64, datetime(2026, 1, 1)))  # noqa: DTZ001


def test_writers_wait_for_each_other_and_readers_do_not(registry: Registry) -> None:
    """On one adapter: PostgreSQL lets those who write to different ones pass."""
    database = registry.database
    publish_made(registry, "sw")
    inside, leave = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with database.session() as session:
            find_adapter(session, "sw", lock=True)
            session.add(row("a" * 64))
            session.flush()
            inside.set()
            leave.wait(30)
            order.append("first")

    def second() -> None:
        with database.session() as session:
            find_adapter(session, "sw", lock=True)
            seen = session.get(BackboneRow, "a" * 64)
            order.append("second saw nothing" if seen is None else "second saw the first")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    with database.reading() as session:
        assert session.get(BackboneRow, "a" * 64) is None
    leave.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first", "second saw the first"]


def test_a_reader_sees_one_state(registry: Registry) -> None:
    with registry.database.reading() as session:
        assert session.get(BackboneRow, "a" * 64) is None
        with registry.database.session() as writing:
            writing.add(row("a" * 64))
        assert session.scalar(select(BackboneRow.name).where(BackboneRow.fingerprint == "a" * 64)) is None
    with registry.database.reading() as session:
        assert session.get(BackboneRow, "a" * 64) is not None


def test_holding_a_subject_keeps_others_out(registry: Registry) -> None:
    taken, leave = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with registry.database.session() as session:
            hold(session, "subject")
            taken.set()
            leave.wait(30)
            order.append("first")

    def second() -> None:
        with registry.database.session() as session:
            hold(session, "subject")
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert taken.wait(30)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    "url",
    ["mysql://somebody:secret@host/glossa", "sqlite://", "sqlite:///:memory:", "registry.sqlite", "nonsense://x"],
)
def test_says_which_databases_it_opens(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="sqlite:////absolute/file") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_opens_an_address(tmp_path: Path) -> None:
    opened = open_registry(
        tmp_path / "home",
        database_url=f"sqlite:///{tmp_path}/elsewhere/r.sqlite",
        blob_url=f"file://{tmp_path}/other%20blobs",
    )
    assert opened.database.name == str(tmp_path / "elsewhere" / "r.sqlite")
    assert isinstance(opened.store, LocalStore)
    assert opened.store.root == tmp_path / "other blobs"
    assert not (tmp_path / "home").exists()
    opened.close()


@pytest.mark.parametrize("url", ["http://bucket/prefix", "/a/folder", "file://host/folder", "file:relative", ""])
def test_says_which_stores_it_opens(url: str) -> None:
    with pytest.raises(UnsupportedStore, match="file:///absolute/folder"):
        open_store(url)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"certainly no database" * 100)
    with pytest.raises(DatabaseUnavailable, match="check that it is a registry"):
        open_registry(tmp_path)


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(DatabaseUnavailable, match="cannot make the folder"):
        open_registry(tmp_path / "home")


def test_a_database_of_a_newer_program_is_left_alone(empty_registry: Registry) -> None:
    with empty_registry.database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(DatabaseUnavailable, match="upgrade the program"):
        migrate(empty_registry.database)
    with empty_registry.database.reading() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "v9999"


def test_a_server_that_is_not_migrated_is_refused_until_it_is(tmp_path: Path, postgres: URL) -> None:
    with fresh_database(postgres, migrated=False) as url:
        with pytest.raises(DatabaseOutdated, match="glossa registry migrate"):
            open_registry(tmp_path, database_url=url)
        database = open_database(url)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: migrate(database), range(4)))
        database.close()
        open_registry(tmp_path, database_url=url).close()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be used") as caught:
        open_registry(tmp_path, database_url=f"postgresql://somebody:secret@/glossa?host={tmp_path}")
    assert "secret" not in str(caught.value)


@contextmanager
def over_tcp(url: URL) -> Iterator[URL]:
    """The same server, which listens on a local socket alone, behind a port on loopback."""
    path = f"{url.query['host']}/.s.PGSQL.5432"

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                back = threading.Thread(target=self.forward, args=(server, self.request))
                back.start()
                self.forward(self.request, server)
                back.join()

        @staticmethod
        def forward(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while piece := source.recv(1 << 16):
                    target.sendall(piece)
                target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        thread = threading.Thread(target=relay.serve_forever)
        thread.start()
        try:
            yield url.set(host="127.0.0.1", port=relay.server_address[1], query={})
        finally:
            relay.shutdown()
            thread.join()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux tells these")
def test_a_connection_to_a_machine_that_is_gone_is_given_up_within_half_a_minute(postgres_url: str) -> None:
    with over_tcp(make_url(postgres_url)) as url:
        database = open_database(url.render_as_string(hide_password=False))
        with database.reading() as session:
            libpq = session.connection().connection.dbapi_connection.pgconn  # type: ignore[union-attr]
            with socket.socket(fileno=os.dup(libpq.socket)) as connection:
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                idle_s, interval_s, count, unanswered_ms = (
                    connection.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (
                        socket.TCP_KEEPIDLE,
                        socket.TCP_KEEPINTVL,
                        socket.TCP_KEEPCNT,
                        socket.TCP_USER_TIMEOUT,
                    )
                )
        database.close()
    assert idle_s + interval_s * count <= SILENCE_S
    assert unanswered_ms == SILENCE_S * 1_000


def test_lineage_of_versions_from_before_it_was_kept(empty_registry: Registry) -> None:
    add_made_backbone(empty_registry)
    publish_made(empty_registry, "ner", "task", key="ner")
    with empty_registry.database.writer.begin() as connection:
        command.downgrade(alembic_config(connection), "v0001")
    migrate(empty_registry.database)
    with empty_registry.database.reading() as session:
        assert set(session.scalars(select(LabelRow.label))) == {"O", "B-PER", "I-PER"}


def test_whether_a_row_is_new(empty_registry: Registry) -> None:
    reply = {"actor": "ana", "key": "k", "request_digest": "a" * 64, "expires_at": datetime.now(UTC)}
    with empty_registry.database.session() as session:
        assert insert_if_absent(session, ReplyRow, reply)
        assert not insert_if_absent(session, ReplyRow, reply)
