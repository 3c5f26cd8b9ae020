"""Lists page by page: filters, order, and pages that stay right while rows come and go."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from registry import aliases, search, versions
from registry.audit import list_audit
from registry.errors import InvalidCursor, UnknownAdapter, UnknownVersion
from registry.registry import Registry
from registry.values import AdapterSummary, Page
from tests.support.made_adapters import add_made_backbone, publish_made

OTHER = "b2" * 32


def names(page: Page[AdapterSummary]) -> list[str]:
    return [item.name for item in page.items]


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    add_made_backbone(registry, fingerprint=OTHER, name="other")
    publish_made(registry, "sw-a", key="sw")
    publish_made(registry, "sw-b", key="sw", fingerprint=OTHER)
    publish_made(registry, "ha", key="ha")
    publish_made(registry, "ner.x", "task", key="ner")
    publish_made(registry, "ner-x", "task", key="ner", fingerprint=OTHER)
    return registry


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["ha", "ner-x", "ner.x", "sw-a", "sw-b"]),
        ({"kind": "task"}, ["ner-x", "ner.x"]),
        ({"language": "swa"}, ["sw-a", "sw-b"]),
        ({"task": "ner"}, ["ner-x", "ner.x"]),
        ({"fingerprint": OTHER}, ["ner-x", "sw-b"]),
        ({"label": "B-PER"}, ["ner-x", "ner.x"]),
        ({"label": "PER"}, ["ner-x", "ner.x"]),
        ({"label": "PER", "fingerprint": OTHER}, ["ner-x"]),
        ({"label": "LOC"}, []),
        ({"prefix": "sw-"}, ["sw-a", "sw-b"]),
        ({"prefix": "ner"}, ["ner-x", "ner.x"]),
        ({"prefix": "ner_"}, []),
        ({"prefix": "%"}, []),
        ({"kind": "language", "prefix": "n"}, []),
    ],
)
def test_filters(stocked: Registry, filters: dict[str, str], expected: list[str]) -> None:
    assert names(search.search_adapters(stocked, **filters)) == expected  # type: ignore[arg-type]


def test_a_summary(stocked: Registry) -> None:
    for seed in (1, 2, 3):
        publish_made(stocked, "ner.x", "task", key="ner", seed=seed)
    versions.delete_version(stocked, "ner.x", 4)
    aliases.move_alias(stocked, "ner.x", "production", 2)
    aliases.move_alias(stocked, "ner.x", "old", 1)
    aliases.remove_alias(stocked, "ner.x", "old")
    found = search.show_adapter(stocked, "ner.x")
    assert (found.kind, found.task, found.language, found.num_versions) == ("task", "ner", None, 3)
    assert (found.newest.reference, found.newest.labels) == ("ner.x@3", ("O", "B-PER", "I-PER"))
    assert [(alias.alias, alias.number) for alias in found.aliases] == [("production", 2)]
    assert search.search_adapters(stocked, prefix="ner.x").items == (found,)


def test_an_adapter_without_live_versions(stocked: Registry) -> None:
    versions.delete_version(stocked, "ha", 1)
    assert "ha" not in names(search.search_adapters(stocked))
    with pytest.raises(UnknownVersion):
        search.show_adapter(stocked, "ha")
    assert search.list_versions(stocked, "ha").items == ()
    assert [version.number for version in search.list_versions(stocked, "ha", include_deleted=True).items] == [1]
    with pytest.raises(UnknownAdapter):
        search.list_versions(stocked, "nobody")


def test_what_fits_is_one_version(registry: Registry) -> None:
    """A label on one backbone and another backbone's version do not add up to a match."""
    add_made_backbone(registry, fingerprint=OTHER, name="other")
    publish_made(registry, "ner", "task", key="ner")
    publish_made(registry, "ner", "task", key="ner", fingerprint=OTHER, seed=1)
    versions.delete_version(registry, "ner", 2)
    assert search.search_adapters(registry, fingerprint=OTHER, label="PER").items == ()
    (found,) = search.search_adapters(registry, label="PER").items
    assert (found.num_versions, found.newest.number) == (1, 1)


def test_pages_stay_right_while_adapters_come_and_go(registry: Registry) -> None:
    for index in range(10):
        publish_made(registry, f"a{index}", key="sw")
    seen: list[str] = []
    cursor = None
    turn = 0
    while True:
        page = search.search_adapters(registry, cursor=cursor, limit=3)
        seen += names(page)
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
        publish_made(registry, f"a{turn}-new", key="sw")  # some before, some after where the walk is
        publish_made(registry, f"z{turn}", key="sw")
        versions.delete_version(registry, seen[0], 1) if turn == 0 else None
        turn += 1
    assert seen == sorted(set(seen))
    assert {f"a{index}" for index in range(10)} <= set(seen)


def walk(registry: Registry) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = search.search_adapters(registry, cursor=cursor, limit=2)
        found += names(page)
        if (cursor := page.next_cursor) is None:
            return found


def test_walks_beside_publishers(registry: Registry) -> None:
    """Who was there before a walk comes in it exactly once, whatever others publish and delete meanwhile."""
    there = [f"m{index}" for index in range(8)]
    for name in there:
        publish_made(registry, name, key="sw")

    def publisher(letter: str) -> None:
        for index in range(6):
            publish_made(registry, f"{letter}{index}", key="sw", seed=index)
            publish_made(registry, there[index], key="sw", seed=1 + index)
            if index % 2:
                versions.delete_version(registry, f"{letter}{index}", 1)

    with ThreadPoolExecutor(2) as pool:
        publishing = [pool.submit(publisher, letter) for letter in ("a", "z")]
        walks = [walk(registry)]
        while not all(done.done() for done in publishing):
            walks.append(walk(registry))
        for done in publishing:
            done.result()
    for found in walks:
        assert found == sorted(set(found))
        assert set(there) <= set(found)
    assert len(walk(registry)) == len(there) + 2 * 3


def test_pages_of_versions(registry: Registry) -> None:
    for seed in range(7):
        publish_made(registry, "sw", key="sw", seed=seed)
    first = search.list_versions(registry, "sw", limit=3)
    publish_made(registry, "sw", key="sw", seed=7)
    second = search.list_versions(registry, "sw", limit=3, cursor=first.next_cursor)
    third = search.list_versions(registry, "sw", limit=3, cursor=second.next_cursor)
    found = [version.number for page in (first, second, third) for version in page.items]
    assert found == [7, 6, 5, 4, 3, 2, 1]
    assert third.next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "äöü", "W10", "e30", "bnVsbA", "A" * 1000, "WzEsIDJd", "\x00", "9" * 40])
def test_what_is_no_cursor(stocked: Registry, cursor: str) -> None:
    with pytest.raises(InvalidCursor, match=r"no cursor|another list"):
        search.search_adapters(stocked, cursor=cursor)
    with pytest.raises(InvalidCursor):
        search.list_versions(stocked, "ha", cursor=cursor)


def test_a_cursor_of_another_list(stocked: Registry) -> None:
    cursor = search.search_adapters(stocked, limit=1).next_cursor
    with pytest.raises(InvalidCursor, match="another list"):
        search.search_adapters(stocked, kind="task", cursor=cursor)
    with pytest.raises(InvalidCursor, match="another list"):
        search.list_versions(stocked, "ha", cursor=cursor)


def test_the_audit_says_from_which_digest_to_which(registry: Registry) -> None:
    first = publish_made(registry, "sw", key="sw")
    second = publish_made(registry, "sw", key="sw", seed=1)
    publish_made(registry, "sw-other", key="sw")
    aliases.move_alias(registry, "sw", "production", 1, actor="amina")
    aliases.move_alias(registry, "sw", "production", 2, actor="juma")
    newest, before, *_ = list_audit(registry, subject="sw").items
    assert (newest.actor, newest.action, newest.subject) == ("juma", "alias.moved", "sw@production")
    assert (newest.from_digest, newest.to_digest) == (first.manifest_digest, second.manifest_digest)
    assert (before.actor, before.from_digest, before.to_digest) == ("amina", None, first.manifest_digest)
    assert len(list_audit(registry, subject="sw").items) == 4
    assert [entry.subject for entry in list_audit(registry, subject="sw@1").items] == ["sw@1"]
    assert [entry.actor for entry in list_audit(registry, actor="juma").items] == ["juma"]
    walked: list[int] = []
    cursor = None
    while True:
        page = list_audit(registry, limit=2, cursor=cursor)
        walked += [entry.id for entry in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert walked == sorted(walked, reverse=True)
    assert len(walked) == len(set(walked)) == 6
