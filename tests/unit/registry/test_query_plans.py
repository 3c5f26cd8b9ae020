"""Lists, searches and choices stay quick as a registry grows: few statements, and none that reads every version."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from madx.manifest import Kind
from registry import catalog, offers, search
from registry.errors import AmbiguousAdapter, NotFound
from registry.registry import Registry, open_registry
from tests.support.made_adapters import FINGERPRINT, add_made_backbone, publish_made

Ask = Callable[[Registry], object]
_WHOLE_TABLE = re.compile(r"SCAN (?:versions|version_\w+|aliases)\b|.* ix_versions_fingerprint\b")


def choosing(kind: Kind, key: str) -> Ask:
    def choose(registry: Registry) -> None:
        with suppress(AmbiguousAdapter, NotFound):
            catalog.choose(registry, kind=kind, key=key, fingerprint=FINGERPRINT)

    return choose


ASKED: dict[str, Ask] = {
    "all": search.search_adapters,
    "by backbone": lambda registry: search.search_adapters(registry, fingerprint=FINGERPRINT),
    "by label": lambda registry: search.search_adapters(registry, label="PER"),
    "by label and backbone": lambda registry: search.search_adapters(registry, label="PER", fingerprint=FINGERPRINT),
    "by language": lambda registry: search.search_adapters(registry, language="sw"),
    "by prefix": lambda registry: search.search_adapters(registry, prefix="s"),
    "versions": lambda registry: search.list_versions(registry, "sw-0"),
    "one adapter": lambda registry: search.show_adapter(registry, "sw-0"),
    "a language": choosing("language", "sw"),
    "a task": choosing("task", "ner"),
    "an unknown language": choosing("language", "xh"),
    "all languages": lambda registry: offers.list_offers(registry, kind="language", fingerprint=FINGERPRINT),
    "all labels": lambda registry: offers.labels_of(registry, kind="task", key="ner", fingerprint=FINGERPRINT),
}


def stock(registry: Registry, count: int) -> None:
    for index in range(count):
        publish_made(registry, f"sw-{index}", seed=index)
        publish_made(registry, f"ner-{index}", "task", key="ner", seed=index)


@contextmanager
def watched(registry: Registry) -> Iterator[list[tuple[str, Any]]]:
    """The statements of the block and their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            seen.append((statement, parameters))

    event.listen(registry.database.reader, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(registry.database.reader, "before_cursor_execute", note)


@pytest.mark.parametrize("asked", ASKED)
def test_sqlite_reads_no_table_whole(tmp_path: Path, asked: str) -> None:
    registry = open_registry(tmp_path / "home")
    add_made_backbone(registry)
    stock(registry, 2)
    with watched(registry) as seen:
        ASKED[asked](registry)
    assert seen
    with registry.database.reader.connect() as connection:
        for statement, parameters in seen:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            assert plan
            assert not [step for step in plan if _WHOLE_TABLE.match(step)], statement
    registry.close()


@pytest.mark.parametrize("asked", ASKED)
def test_more_adapters_take_no_more_statements(registry: Registry, asked: str) -> None:
    stock(registry, 2)
    with watched(registry) as before:
        ASKED[asked](registry)
    stock(registry, 6)
    with watched(registry) as after:
        ASKED[asked](registry)
    assert len(after) == len(before) <= 10
