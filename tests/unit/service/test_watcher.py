"""What the watcher tells: every event once and in order, this process's own before the write returns."""

import threading
import time
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import ProgrammingError

from registry import aliases
from registry.errors import DatabaseUnavailable
from registry.registry import open_registry
from registry.values import Event
from service.watcher import Watcher
from tests.support.served import PATIENCE_S, Home

NEVER_S = 3_600.0


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.told = threading.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        self.events.extend(events)
        self.told.set()

    @property
    def subjects(self) -> list[str]:
        return [event.subject for event in self.events]


def test_own_writes_are_told_before_they_return(own_home: Home) -> None:
    with own_home.registry() as registry:
        watcher, heard = Watcher(registry, interval_s=NEVER_S), Heard()
        watcher.subscribe(heard)
        with watcher.watching():
            aliases.move_alias(registry, "sw", "production", 1)
            assert heard.subjects == ["sw@production"]
            aliases.move_alias(registry, "en", "production", 1)
            assert heard.subjects == ["sw@production", "en@production"]
        aliases.move_alias(registry, "ner", "production", 1)
        assert heard.subjects == ["sw@production", "en@production"]


def test_what_was_before_it_began_is_not_told(own_home: Home) -> None:
    with own_home.registry() as registry:
        aliases.move_alias(registry, "sw", "production", 1)
        watcher, heard = Watcher(registry, interval_s=NEVER_S), Heard()
        watcher.subscribe(heard)
        with watcher.watching():
            watcher.look()
        assert heard.events == []


def test_writes_of_another_process_are_told_soon(own_home: Home) -> None:
    with own_home.registry() as registry:
        watcher, heard = Watcher(registry, interval_s=0.01), Heard()
        watcher.subscribe(heard)
        with watcher.watching():
            other = open_registry(own_home.folder)
            try:
                aliases.move_alias(other, "sw", "production", 1)
            finally:
                other.close()
            assert heard.told.wait(PATIENCE_S)
        assert heard.subjects == ["sw@production"]


def test_more_than_a_page_is_told_whole_and_in_order(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.watcher._PAGE", 2)
    with own_home.registry() as registry:
        watcher, heard = Watcher(registry, interval_s=NEVER_S), Heard()
        with watcher.watching():
            other = open_registry(own_home.folder)
            try:
                for name in ("a", "b", "c", "d", "e"):
                    aliases.move_alias(other, "sw", name, 1)
            finally:
                other.close()
            watcher.subscribe(heard)
            watcher.look()
        assert heard.subjects == ["sw@a", "sw@b", "sw@c", "sw@d", "sw@e"]


def test_a_listener_that_fails_costs_neither_the_write_nor_the_others(own_home: Home) -> None:
    def broken(_events: Sequence[Event]) -> None:
        raise ValueError("a listener's fault")

    with own_home.registry() as registry:
        watcher, heard = Watcher(registry, interval_s=NEVER_S), Heard()
        watcher.subscribe(broken)
        watcher.subscribe(heard)
        with watcher.watching():
            assert aliases.move_alias(registry, "sw", "production", 1).number == 1
        assert heard.subjects == ["sw@production"]


@pytest.mark.parametrize(
    "failure", [DatabaseUnavailable("away"), ProgrammingError("SELECT", {}, Exception("no such table: events"))]
)
def test_a_database_that_is_away_is_looked_at_again(
    own_home: Home, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    from registry import catalog

    with own_home.registry() as registry:
        watcher, heard = Watcher(registry, interval_s=NEVER_S), Heard()
        watcher.subscribe(heard)
        real = catalog.events_after

        def away(*_given: object, **_named: object) -> tuple[Event, ...]:
            raise failure

        with watcher.watching():
            monkeypatch.setattr(catalog, "events_after", away)
            aliases.move_alias(registry, "sw", "production", 1)
            time.sleep(0.01)
            assert watcher.age_s >= 0.01
            assert heard.events == []
            monkeypatch.setattr(catalog, "events_after", real)
            before_s = time.monotonic()
            watcher.look()
            assert watcher.age_s <= time.monotonic() - before_s
        assert heard.subjects == ["sw@production"]


def test_the_thread_that_looks_outlives_an_error_of_any_kind(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry import catalog

    with own_home.registry() as registry:
        watcher, heard, failed = Watcher(registry, interval_s=0.01), Heard(), threading.Event()
        watcher.subscribe(heard)
        real = catalog.events_after

        def broken(*_given: object, **_named: object) -> tuple[Event, ...]:
            failed.set()
            raise ValueError("nobody expects this one")

        with watcher.watching():
            monkeypatch.setattr(catalog, "events_after", broken)
            assert failed.wait(PATIENCE_S)
            monkeypatch.setattr(catalog, "events_after", real)
            other = open_registry(own_home.folder)
            try:
                aliases.move_alias(other, "sw", "production", 1)
            finally:
                other.close()
            assert heard.told.wait(PATIENCE_S)
        assert heard.subjects == ["sw@production"]
