"""What the registry said is remembered, and not past a change: this process's or another's."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from registry import aliases, catalog, versions
from registry.errors import UnknownVersion
from registry.references import AdapterRef
from registry.registry import Registry, open_registry
from registry.values import Version
from service.resolutions import NotRemembered, Resolutions
from service.watcher import Watcher
from tests.support import tiny
from tests.support.served import PATIENCE_S, Home

NEVER_S = 3_600.0


@contextmanager
def watched(home: Home, *, interval_s: float = NEVER_S) -> Iterator[tuple[Registry, Resolutions, Watcher]]:
    with home.registry() as registry:
        watcher = Watcher(registry, interval_s=interval_s)
        resolutions = Resolutions(registry, home.loaded.fingerprint, watcher)
        with watcher.watching():
            yield registry, resolutions, watcher


@contextmanager
def counted_queries(registry: Registry) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(registry.database.reader, "before_cursor_execute", note)
    yield statements
    event.remove(registry.database.reader, "before_cursor_execute", note)


def test_an_answer_is_asked_for_once(own_home: Home) -> None:
    with watched(own_home) as (registry, resolutions, _):
        first = resolutions.choose("language", "sw"), resolutions.find(AdapterRef(name="ner"))
        with counted_queries(registry) as statements:
            again = resolutions.choose("language", "sw"), resolutions.find(AdapterRef(name="ner"))
            assert resolutions.remembered.choose("language", "sw") == first[0]
        assert again == first
        assert [version.reference for version in first] == ["sw@1", "ner@1"]
        assert statements == []


def test_what_was_not_asked_is_not_remembered(own_home: Home) -> None:
    with watched(own_home) as (_, resolutions, _watcher):
        resolutions.choose("language", "sw")
        with pytest.raises(NotRemembered):
            resolutions.remembered.choose("language", "en")
        with pytest.raises(NotRemembered):
            resolutions.remembered.find(AdapterRef(name="sw"))


def test_own_writes_count_at_once(own_home: Home) -> None:
    with watched(own_home) as (registry, resolutions, _):
        assert resolutions.find(AdapterRef(name="ner")).number == 1
        tiny.publish_adapter(registry, "ner", tiny.task_checkpoint(own_home.loaded, seed=9))
        assert resolutions.find(AdapterRef(name="ner")).number == 2
        aliases.move_alias(registry, "ner", "production", 1)
        assert resolutions.find(AdapterRef(name="ner")).number == 1
        aliases.remove_alias(registry, "ner", "production")
        versions.delete_version(registry, "ner", 2)
        with pytest.raises(UnknownVersion):
            resolutions.find(AdapterRef(name="ner", number=2))
        assert resolutions.choose("task", "ner").number == 1


def test_writes_of_another_process_count_after_the_next_look(own_home: Home) -> None:
    with watched(own_home) as (_, resolutions, watcher):
        asked = AdapterRef(name="ner", alias="trial")
        other = open_registry(own_home.folder)
        try:
            tiny.publish_adapter(other, "ner", tiny.task_checkpoint(own_home.loaded, seed=9))
            aliases.move_alias(other, "ner", "trial", 1)
            watcher.look()
            assert resolutions.find(asked).number == 1
            aliases.move_alias(other, "ner", "trial", 2)
            assert resolutions.find(asked).number == 1
            watcher.look()
            assert resolutions.find(asked).number == 2
        finally:
            other.close()


def test_an_answer_that_a_change_overtakes_is_not_remembered(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(own_home) as (_, resolutions, _watcher):
        real = catalog.resolve

        def overtaken(registry: Registry, reference: AdapterRef, *, fingerprint: str | None = None) -> Version:
            version = real(registry, reference, fingerprint=fingerprint)
            tiny.publish_adapter(registry, "ner", tiny.task_checkpoint(own_home.loaded, seed=9))
            return version

        monkeypatch.setattr(catalog, "resolve", overtaken)
        assert resolutions.find(AdapterRef(name="ner")).number == 1
        monkeypatch.setattr(catalog, "resolve", real)
        assert resolutions.find(AdapterRef(name="ner")).number == 2


def test_nothing_is_believed_once_nobody_looks(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(own_home) as (registry, resolutions, watcher):
        resolutions.choose("language", "sw")
        monkeypatch.setattr("service.resolutions.TRUSTED_S", 0.0)
        with counted_queries(registry) as statements:
            assert resolutions.choose("language", "sw").reference == "sw@1"
        assert statements
        monkeypatch.undo()
        watcher.look()
        assert resolutions.remembered.choose("language", "sw").reference == "sw@1"


def test_memory_is_bounded_and_the_latest_stay(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.resolutions._MOST_REMEMBERED", 2)
    with watched(own_home) as (_, resolutions, _watcher):
        for key in ("sw", "en", "sw", "swa"):
            resolutions.choose("language", key)
        assert resolutions.remembered.choose("language", "sw").reference == "sw@1"
        assert resolutions.remembered.choose("language", "swa").reference == "sw@1"
        with pytest.raises(NotRemembered):
            resolutions.remembered.choose("language", "en")


def test_a_request_costs_no_query_once_its_versions_are_known(own_home: Home) -> None:
    with own_home.client() as client:
        registry = client.app.state.server.registry  # type: ignore[attr-defined]

        def ran() -> str:
            response = client.post("/v1/predict/ner?language=sw", json={"inputs": "Juma lives in Nairobi"})
            return response.headers["x-glossa-adapter"]

        assert ran() == "ner@1"
        with counted_queries(registry) as statements:
            assert [ran() for _ in range(5)] == ["ner@1"] * 5
        asked = [text for text in statements if "FROM events" not in text]  # the watcher's
        assert [text for text in asked if not text.startswith("BEGIN")] == []
        tiny.publish_adapter(registry, "ner", tiny.task_checkpoint(own_home.loaded, seed=9))
        until_s = time.monotonic() + PATIENCE_S
        while ran() != "ner@2":  # as soon as it has been loaded
            assert time.monotonic() < until_s
