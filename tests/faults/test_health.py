"""Health over HTTP while the engine hangs, the database hangs or is away, and the store is away."""

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

import service.app
from service.model import Model, open_model
from service.settings import Settings
from tests.support.live import LiveServer, serving
from tests.support.served import PATIENCE_S, Forward, Home, make_home

pytestmark = pytest.mark.faults

NER = "/v1/predict/ner?language=sw"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("served"))


@contextmanager
def asking(live: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.address, timeout=PATIENCE_S) as client:
        yield client


def wait_for(status: int, ask: Callable[[], httpx.Response]) -> dict[str, Any]:
    """The first answer of this status. The last one is shown where none comes."""
    until_s = time.monotonic() + PATIENCE_S
    while (answer := ask()).status_code != status:
        assert time.monotonic() < until_s, answer.text
        time.sleep(0.05)
    content: dict[str, Any] = answer.json()
    return content


def test_an_engine_that_hangs_turns_both_red_until_it_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Forward()

    def opened(settings: Settings) -> Model:
        model = open_model(settings)
        forward.real = model.infer
        return dataclasses.replace(model, infer=forward)

    monkeypatch.setattr(service.app, "open_model", opened)
    with serving(home, stuck_after_s=3.0) as live, asking(live) as client, ThreadPoolExecutor(1) as pool:
        forward.is_watched = True
        assert client.get("/v2/health/live").json() == {"live": True}
        answer = pool.submit(client.post, NER, json={"inputs": "Juma"})
        try:
            assert forward.entered.acquire(timeout=PATIENCE_S)
            problem = wait_for(503, lambda: client.get("/health/live"))
            assert problem["code"] == "not_ready"
            assert "restart" in problem["detail"]
            problem = wait_for(503, lambda: client.get("/health/ready"))
            assert problem["checks"]["engine"] == "dead"
            assert client.get("/v2/health/live").status_code == 503
        finally:
            forward.gate.set()
        assert answer.result().status_code == 200
        wait_for(200, lambda: client.get("/health/live"))
        wait_for(200, lambda: client.get("/health/ready"))


@pytest.fixture
def on_postgres(home: Home, postgres_url: str, tmp_path: Path) -> Iterator[LiveServer]:
    """An empty registry on a server of which the tests below take the database away."""
    with serving(dataclasses.replace(home, folder=tmp_path / "empty"), database_url=postgres_url) as live:
        yield live


@contextmanager
def beside(url: str, database: str | None = None) -> Iterator[Connection]:
    """A connection of somebody else's."""
    address = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(address.set(database=database or address.database), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def probing() -> int:
    return sum(thread.name == "glossa-probe-database" for thread in threading.enumerate())


def test_a_database_that_hangs_turns_ready_red_alone(on_postgres: LiveServer, postgres_url: str) -> None:
    with asking(on_postgres) as client, ThreadPoolExecutor(8) as pool:
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (200, "answers")
        with beside(postgres_url) as somebody:
            somebody.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
            problem = wait_for(503, lambda: client.get("/health/ready"))
            assert problem["checks"] == {"engine": "running", "database": "silent", "store": "answers"}
            assert {answer.status_code for answer in pool.map(client.get, ["/health/ready"] * 40)} == {503}
            assert probing() == 1
            assert client.get("/health/live").status_code == 200
        wait_for(200, lambda: client.get("/health/ready"))
        assert client.get("/v2/health/ready").json() == {"ready": True}


def test_a_database_that_is_away_turns_ready_red_until_it_is_back(on_postgres: LiveServer, postgres_url: str) -> None:
    name = make_url(postgres_url).database
    with asking(on_postgres) as client, beside(postgres_url, "postgres") as somebody:
        somebody = somebody.execution_options(isolation_level="AUTOCOMMIT")
        somebody.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
        somebody.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
        )
        problem = wait_for(503, lambda: client.get("/health/ready"))
        assert problem["checks"]["database"] == "silent"
        assert str(name) not in str(problem)
        assert client.get("/health/live").status_code == 200
        somebody.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
        wait_for(200, lambda: client.get("/health/ready"))


def test_a_store_that_is_away_is_told_of_and_leaves_the_server_ready(home: Home, tmp_path: Path) -> None:
    """A folder is the store; a file in its place is none."""
    own = home.copy(tmp_path / "home")
    with serving(own) as live, asking(live) as client:
        assert client.post(NER, json={"inputs": "Juma"}).status_code == 200
        shutil.rmtree(own.folder / "blobs")
        (own.folder / "blobs").write_text("no folder")
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["store"]) == (200, "silent")
        assert client.post(NER, json={"inputs": "Juma"}).status_code == 200
