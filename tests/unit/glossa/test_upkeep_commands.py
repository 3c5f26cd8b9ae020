"""`glossa gc`, `glossa fsck` and `glossa registry`: what they print, and with which status they end."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.registry import Registry, open_registry
from registry.versions import delete_version
from tests.support.ageing import let_pass
from tests.support.made_adapters import add_made_backbone, publish_made

Glossa = Any


@pytest.fixture
def in_home(home: Path) -> Callable[[Callable[[Registry], None]], None]:
    """Does something to the home's registry, as another process would."""

    def call(do: Callable[[Registry], None]) -> None:
        registry = open_registry(home)
        try:
            do(registry)
        finally:
            registry.close()

    return call


def fill(registry: Registry) -> None:
    add_made_backbone(registry)
    for seed in range(3):
        publish_made(registry, "sw", seed=seed)
    delete_version(registry, "sw", 1)
    registry.store.put(io.BytesIO(b"nobody's"))


def two_days(registry: Registry) -> None:
    let_pass(registry, timedelta(days=2))


def damage(registry: Registry) -> None:
    registry.store.delete(next(iter(registry.store.list())).digest)


def test_gc_rehearses_unless_told_to_delete(glossa: Glossa, in_home: Any) -> None:
    in_home(fill)
    in_home(two_days)
    for _ in range(2):
        done = glossa("gc")
        assert done.status == 0
        assert "1 deleted versions, weights would be given up:\n  sw@1\n" in done.out
        assert "2 blobs without a version would be marked" in done.out
        assert "nothing was changed" in done.out
    assert "2 blobs without a version marked" in glossa("gc", "--delete").out
    assert "2 blobs marked by an earlier run" in glossa("gc").out
    assert "2 blobs would be deleted" in glossa("gc", "--grace", "0s").out
    in_home(two_days)
    report = json.loads(glossa("gc", "--delete", "--json").out)
    assert len(report["collected"]) == 2
    assert report["freed_bytes"] == sum(blob["size_bytes"] for blob in report["collected"]) > 0
    assert glossa("gc", "--delete").out == "0 KiB freed\n"
    assert glossa("fsck").out.startswith("3 versions, 2 blobs")


@pytest.mark.parametrize("grace", ["5", "h", "-1h", "1 h", "1w", ""])
def test_a_grace_that_is_no_time(glossa: Glossa, grace: str) -> None:
    done = glossa("gc", "--delete", f"--grace={grace}")
    assert done.status == 2
    assert "write 90s, 30m, 24h or 7d" in done.err


def test_fsck_ends_with_1_where_something_is_broken(glossa: Glossa, in_home: Any) -> None:
    in_home(fill)
    done = glossa("fsck")
    assert done.status == 0
    assert "note: orphan" in done.out
    assert "nothing is broken" in done.out
    in_home(damage)
    in_home(damage)
    in_home(damage)
    done = glossa("fsck", "--quick")
    assert done.status == 1
    assert "broken: blob_missing sw@" in done.out
    assert "faults" in done.out
    done = glossa("fsck", "--json", "--repair")
    assert done.status == 1
    report = json.loads(done.out)
    assert not report["is_sound"]
    assert {finding["code"] for finding in report["findings"] if finding["is_broken"]} == {"blob_missing"}


def test_registry_status_and_migrate(glossa: Glossa, home: Path, in_home: Any) -> None:
    assert json.loads(glossa("registry", "status", "--json").out)["revision"] is None
    assert "run `glossa registry migrate`" in glossa("registry", "status").out
    assert "from no tables to revision v0" in glossa("registry", "migrate").out
    assert "is up to date" in glossa("registry", "migrate").out
    in_home(fill)
    status = json.loads(glossa("registry", "status", "--json").out)
    assert status["revision"] == status["newest_revision"]
    assert status["database"] == str(home / "registry.sqlite")
    assert status["store"] == (home / "blobs").as_uri()
    assert status["counts"]["live_versions"] == 2
    assert status["counts"]["deleted_versions"] == 1
    assert status["weights_bytes"] > 0
    assert "live versions     2" in glossa("registry", "status").out


def test_a_server_database_is_migrated_on_request_alone(
    glossa: Glossa, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.servers.postgres import fresh_database

    with fresh_database(postgres, migrated=False) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        refused = glossa("gc")
        assert refused.status == 1
        assert "run `glossa registry migrate`" in refused.err
        assert glossa("registry", "migrate").status == 0
        assert glossa("gc").status == 0


def test_addresses_are_shown_without_passwords(glossa: Glossa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:hidden@127.0.0.1:1/registry")
    for command in (("registry", "status"), ("registry", "migrate"), ("fsck",)):
        done = glossa(*command)
        assert done.status == 1
        assert "hidden" not in done.out + done.err
