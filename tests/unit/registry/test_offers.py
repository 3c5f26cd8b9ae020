"""What could run for each language and task, and what does: all at once as one by one."""

import pytest

from madx.errors import InvalidConfig
from madx.manifest import Kind
from registry import aliases, catalog, offers, versions
from registry.errors import AmbiguousAdapter, NotFound, WrongBackbone
from registry.references import parse_reference
from registry.registry import Registry
from tests.support.made_adapters import FINGERPRINT, OTHER_FINGERPRINT, add_made_backbone, publish_made

Shown = dict[str, tuple[list[str], str | None]]


def shown(registry: Registry, kind: Kind = "language", fingerprint: str = FINGERPRINT) -> Shown:
    """Key -> references of candidates, reference of what is chosen; each choice is the one that a request gets."""
    found: Shown = {}
    for offer in offers.list_offers(registry, kind=kind, fingerprint=fingerprint):
        chosen = None if offer.chosen is None else offer.chosen.reference
        assert chosen == chosen_alone(registry, kind, offer.key, fingerprint)
        found[offer.key] = [candidate.reference for candidate in offer.candidates], chosen
    return found


def chosen_alone(registry: Registry, kind: Kind, key: str, fingerprint: str) -> str | None:
    try:
        return catalog.choose(registry, kind=kind, key=key, fingerprint=fingerprint).reference
    except (AmbiguousAdapter, NotFound, WrongBackbone):
        return None


def set_default(registry: Registry, reference: str, fingerprint: str = FINGERPRINT) -> None:
    catalog.set_default(registry, parse_reference(reference), fingerprint=fingerprint)


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    """Two backbones; for Swahili two adapters of the first one, of which the first has a version of the other too."""
    add_made_backbone(registry, OTHER_FINGERPRINT, "other")
    for seed in range(3):
        publish_made(registry, "sw-a", seed=seed)
    publish_made(registry, "sw-a", seed=3, fingerprint=OTHER_FINGERPRINT)
    publish_made(registry, "sw-b", seed=4)
    publish_made(registry, "ha", key="ha")
    publish_made(registry, "far", key="xh", fingerprint=OTHER_FINGERPRINT)
    publish_made(registry, "ner", "task", key="ner")
    return registry


def test_each_key_has_what_runs_on_the_backbone(stocked: Registry) -> None:
    assert shown(stocked) == {"ha": (["ha@1"], "ha@1"), "sw": (["sw-a@3", "sw-b@1"], None)}
    assert shown(stocked, fingerprint=OTHER_FINGERPRINT) == {"sw": (["sw-a@4"], "sw-a@4"), "xh": (["far@1"], "far@1")}
    assert shown(stocked, "task") == {"ner": (["ner@1"], "ner@1")}


def test_a_bare_name_stands_for_production(stocked: Registry) -> None:
    aliases.move_alias(stocked, "sw-a", "production", 1)
    assert shown(stocked)["sw"] == (["sw-a@1", "sw-b@1"], None)
    aliases.move_alias(stocked, "sw-a", "production", 4)
    assert shown(stocked)["sw"] == (["sw-b@1"], "sw-b@1")
    aliases.remove_alias(stocked, "sw-a", "production")
    assert shown(stocked)["sw"] == (["sw-a@3", "sw-b@1"], None)


@pytest.mark.parametrize(("default", "chosen"), [("sw-b", "sw-b@1"), ("sw-a", "sw-a@3"), ("sw-a@2", "sw-a@2")])
def test_the_default_is_chosen(stocked: Registry, default: str, chosen: str) -> None:
    set_default(stocked, default)
    assert shown(stocked)["sw"] == (["sw-a@3", "sw-b@1"], chosen)


def test_a_default_may_be_an_alias(stocked: Registry) -> None:
    aliases.move_alias(stocked, "sw-a", "canary", 1)
    set_default(stocked, "sw-a@canary")
    assert shown(stocked)["sw"][1] == "sw-a@1"
    aliases.move_alias(stocked, "sw-a", "canary", 4)
    assert shown(stocked)["sw"][1] is None
    aliases.remove_alias(stocked, "sw-a", "canary")
    assert shown(stocked)["sw"][1] is None


def test_a_default_may_choose_what_is_no_candidate(stocked: Registry) -> None:
    set_default(stocked, "sw-a@2")
    versions.delete_version(stocked, "sw-b", 1)
    aliases.move_alias(stocked, "sw-a", "production", 4)
    assert shown(stocked)["sw"] == ([], "sw-a@2")


def test_what_is_deleted_runs_no_more(stocked: Registry) -> None:
    set_default(stocked, "sw-b")
    versions.delete_version(stocked, "sw-b", 1)
    versions.delete_version(stocked, "ha", 1)
    assert shown(stocked) == {"sw": (["sw-a@3"], "sw-a@3")}


def test_labels_are_those_of_all_heads(stocked: Registry) -> None:
    def labels(kind: Kind, key: str, fingerprint: str = FINGERPRINT) -> tuple[str, ...]:
        return offers.labels_of(stocked, kind=kind, key=key, fingerprint=fingerprint)

    publish_made(stocked, "ner-b", "task", key="ner", seed=1)
    assert labels("task", "ner") == ("O", "B-PER", "I-PER")
    assert labels("task", "ner", OTHER_FINGERPRINT) == labels("language", "ha") == labels("task", "pos") == ()


def test_what_is_no_language_is_refused_where_a_default_is_looked_for(registry: Registry) -> None:
    with pytest.raises(InvalidConfig):
        catalog.get_default(registry, kind="language", key="not a language", fingerprint=FINGERPRINT)
