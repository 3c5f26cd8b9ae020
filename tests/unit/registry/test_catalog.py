"""Backbones, adapters, references and aliases as the catalogue tells of them."""

from dataclasses import replace

import pytest

from registry import aliases, catalog, versions
from registry.errors import (
    AmbiguousBackbone,
    Conflict,
    InvalidName,
    PreconditionFailed,
    UnknownAdapter,
    UnknownAlias,
    UnknownBackbone,
    UnknownVersion,
    WrongBackbone,
)
from registry.references import parse_reference
from registry.registry import Registry
from tests.support.made_adapters import CONFIG, FINGERPRINT, OTHER_FINGERPRINT, add_made_backbone, publish_made


def resolved(registry: Registry, reference: str, fingerprint: str | None = None) -> str:
    return catalog.resolve(registry, parse_reference(reference), fingerprint=fingerprint).reference


def test_a_backbone_is_found_by_name_and_by_fingerprint(registry: Registry) -> None:
    by_name = catalog.get_backbone(registry, "tiny")
    assert by_name == catalog.get_backbone(registry, FINGERPRINT)
    assert by_name.config == CONFIG
    assert by_name.masked_lm
    assert catalog.list_backbones(registry) == (by_name,)


def test_adding_a_backbone_again_keeps_the_first_name(registry: Registry) -> None:
    add_made_backbone(registry, name="renamed")
    assert [backbone.name for backbone in catalog.list_backbones(registry)] == ["tiny"]


def test_one_fingerprint_stands_for_one_configuration(registry: Registry) -> None:
    other = replace(CONFIG, num_layers=3)
    with pytest.raises(Conflict):
        catalog.add_backbone(registry, fingerprint=FINGERPRINT, name="tiny", config=other, masked_lm=True)
    assert catalog.get_backbone(registry, "tiny").config == CONFIG


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, "c3" * 32])
def test_refuses_bad_backbone_names(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidName):
        add_made_backbone(registry, OTHER_FINGERPRINT, name)


def test_hub_names_are_backbone_names(registry: Registry) -> None:
    add_made_backbone(registry, OTHER_FINGERPRINT, "FacebookAI/xlm-roberta-base")
    assert catalog.get_backbone(registry, "FacebookAI/xlm-roberta-base").fingerprint == OTHER_FINGERPRINT


def test_unknown_and_ambiguous_backbones(registry: Registry) -> None:
    with pytest.raises(UnknownBackbone) as unknown:
        catalog.get_backbone(registry, "tiiny")
    assert unknown.value.nearest == ("tiny",)
    add_made_backbone(registry, OTHER_FINGERPRINT, "tiny")
    with pytest.raises(AmbiguousBackbone) as ambiguous:
        catalog.get_backbone(registry, "tiny")
    assert ambiguous.value.candidates == (FINGERPRINT, OTHER_FINGERPRINT)


def test_shows_live_versions_and_aliases(registry: Registry) -> None:
    for seed in range(3):
        publish_made(registry, "sw", seed=seed)
    versions.delete_version(registry, "sw", 2)
    alias = aliases.move_alias(registry, "sw", "production", 1)
    shown = catalog.show(registry, "sw")
    assert [version.number for version in shown.versions] == [1, 3]
    assert shown.aliases == (alias,)
    assert shown.production == alias


def test_an_adapter_whose_versions_are_all_deleted_is_not_resolved(registry: Registry) -> None:
    publish_made(registry, "sw")
    versions.delete_version(registry, "sw", 1)
    with pytest.raises(UnknownVersion, match="deleted"):
        resolved(registry, "sw")


def test_resolves_the_three_forms(registry: Registry) -> None:
    for seed in range(3):
        publish_made(registry, "sw", seed=seed)
    assert resolved(registry, "sw") == "sw@3"
    assert resolved(registry, "sw@1") == "sw@1"
    aliases.move_alias(registry, "sw", "canary", 2)
    assert resolved(registry, "sw@canary") == "sw@2"
    assert resolved(registry, "sw") == "sw@3"
    aliases.move_alias(registry, "sw", "production", 1)
    assert resolved(registry, "sw") == "sw@1"
    assert resolved(registry, "sw@production") == "sw@1"


def test_unknown_names_come_with_the_nearest(registry: Registry) -> None:
    publish_made(registry, "sw-tiny")
    aliases.move_alias(registry, "sw-tiny", "canary", 1)
    with pytest.raises(UnknownAdapter, match="sw-tiny") as adapter:
        resolved(registry, "sw-tyni")
    assert adapter.value.nearest == ("sw-tiny",)
    with pytest.raises(UnknownVersion) as version:
        resolved(registry, "sw-tiny@9")
    assert version.value.nearest == ("sw-tiny@1",)
    with pytest.raises(UnknownAlias) as alias:
        resolved(registry, "sw-tiny@canari")
    assert alias.value.nearest == ("sw-tiny@canary",)
    with pytest.raises(UnknownAlias):
        resolved(registry, "sw-tiny@production")


def test_a_backbone_decides_which_versions_fit(registry: Registry) -> None:
    add_made_backbone(registry, OTHER_FINGERPRINT, "other")
    publish_made(registry, "sw")
    publish_made(registry, "sw", fingerprint=OTHER_FINGERPRINT)
    assert resolved(registry, "sw", FINGERPRINT) == "sw@1"
    assert resolved(registry, "sw", OTHER_FINGERPRINT) == "sw@2"
    with pytest.raises(WrongBackbone, match=r"sw@1 is made for backbone tiny .* not for other"):
        resolved(registry, "sw@1", OTHER_FINGERPRINT)
    aliases.move_alias(registry, "sw", "production", 2)
    with pytest.raises(WrongBackbone):
        resolved(registry, "sw", FINGERPRINT)


def test_aliases_move_by_compare_and_set(registry: Registry) -> None:
    for seed in range(2):
        publish_made(registry, "sw", seed=seed)
    created = aliases.move_alias(registry, "sw", "production", 1, expected=0, actor="amina")
    assert (created.number, created.revision) == (1, 1)
    with pytest.raises(PreconditionFailed) as caught:
        aliases.move_alias(registry, "sw", "production", 2, expected=0)
    assert caught.value.revision == 1
    moved = aliases.move_alias(registry, "sw", "production", 2, expected=1, actor="juma")
    assert (moved.number, moved.revision) == (2, 2)
    with pytest.raises(PreconditionFailed):
        aliases.move_alias(registry, "sw", "production", 1, expected=1)
    assert aliases.get_alias(registry, "sw", "production") == moved
    assert aliases.move_alias(registry, "sw", "production", 1).revision == 3
    history = aliases.alias_history(registry, "sw", "production")
    assert [(move.revision, move.number, move.actor) for move in history] == [
        (1, 1, "amina"),
        (2, 2, "juma"),
        (3, 1, "local"),
    ]


def test_moving_an_alias_to_where_it_is_changes_nothing(registry: Registry) -> None:
    publish_made(registry, "sw")
    alias = aliases.move_alias(registry, "sw", "production", 1)
    events = catalog.events_after(registry, 0)
    assert aliases.move_alias(registry, "sw", "production", 1, expected=1) == alias
    assert catalog.events_after(registry, 0) == events


def test_an_alias_points_at_a_live_version(registry: Registry) -> None:
    publish_made(registry, "sw")
    with pytest.raises(UnknownVersion):
        aliases.move_alias(registry, "sw", "production", 2)
    versions.delete_version(registry, "sw", 1)
    with pytest.raises(UnknownVersion):
        aliases.move_alias(registry, "sw", "production", 1)
    with pytest.raises(UnknownAlias):
        aliases.get_alias(registry, "sw", "production")
    with pytest.raises(InvalidName):
        aliases.move_alias(registry, "sw", "2", 1)


def test_a_version_that_is_still_named_is_not_deleted(registry: Registry) -> None:
    for seed in range(2):
        publish_made(registry, "sw", seed=seed)
    aliases.move_alias(registry, "sw", "production", 1)
    with pytest.raises(Conflict, match="alias production"):
        versions.delete_version(registry, "sw", 1)
    catalog.set_default(registry, parse_reference("sw@2"), fingerprint=FINGERPRINT)
    with pytest.raises(Conflict, match="default for sw"):
        versions.delete_version(registry, "sw", 2)


def test_events_are_read_on_from_the_last_one(registry: Registry) -> None:
    publish_made(registry, "sw")
    first = catalog.events_after(registry, 0)
    aliases.move_alias(registry, "sw", "production", 1)
    (new,) = catalog.events_after(registry, first[-1].id)
    assert (new.action, new.subject, new.detail["number"]) == ("alias.moved", "sw@production", 1)
    assert len(catalog.events_after(registry, 0, limit=2)) == 2
