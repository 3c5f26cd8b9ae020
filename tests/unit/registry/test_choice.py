"""Which adapter runs where a request names none."""

import pytest

from registry import aliases, catalog, versions
from registry.errors import (
    AmbiguousAdapter,
    UnknownBackbone,
    UnknownLanguage,
    UnknownTask,
    UnknownVersion,
    WrongBackbone,
)
from registry.references import parse_reference
from registry.registry import Registry
from tests.support.made_adapters import FINGERPRINT, OTHER_FINGERPRINT, add_made_backbone, publish_made


def chosen(registry: Registry, language: str, fingerprint: str = FINGERPRINT) -> str:
    return catalog.choose(registry, kind="language", key=language, fingerprint=fingerprint).reference


def set_default(registry: Registry, reference: str, fingerprint: str = FINGERPRINT) -> None:
    catalog.set_default(registry, parse_reference(reference), fingerprint=fingerprint)


def test_the_only_adapter_runs(registry: Registry) -> None:
    publish_made(registry, "sw")
    publish_made(registry, "ner", "task", key="ner")
    assert chosen(registry, "sw") == chosen(registry, "swa") == chosen(registry, "SW") == "sw@1"
    assert catalog.choose(registry, kind="task", key="ner", fingerprint=FINGERPRINT).reference == "ner@1"


def test_the_only_adapter_runs_its_production_version(registry: Registry) -> None:
    for seed in range(2):
        publish_made(registry, "sw", seed=seed)
    assert chosen(registry, "sw") == "sw@2"
    aliases.move_alias(registry, "sw", "production", 1)
    assert chosen(registry, "sw") == "sw@1"


def test_of_several_the_default_runs(registry: Registry) -> None:
    publish_made(registry, "sw-a")
    publish_made(registry, "sw-b", seed=1)
    with pytest.raises(AmbiguousAdapter, match="adapters default") as caught:
        chosen(registry, "sw")
    assert caught.value.candidates == ("sw-a", "sw-b")
    assert caught.value.code == "ambiguous"
    set_default(registry, "sw-b")
    assert chosen(registry, "sw") == "sw-b@1"
    set_default(registry, "sw-a")
    assert chosen(registry, "sw") == "sw-a@1"


def test_a_default_may_name_a_version_or_an_alias(registry: Registry) -> None:
    for seed in range(3):
        publish_made(registry, "sw", seed=seed)
    set_default(registry, "sw@2")
    assert chosen(registry, "sw") == "sw@2"
    assert str(catalog.get_default(registry, kind="language", key="swa", fingerprint=FINGERPRINT)) == "sw@2"
    aliases.move_alias(registry, "sw", "canary", 1)
    set_default(registry, "sw@canary")
    assert chosen(registry, "sw") == "sw@1"


def test_the_only_adapter_wins_over_a_default_that_is_gone(registry: Registry) -> None:
    publish_made(registry, "sw-a")
    publish_made(registry, "sw-b", seed=1)
    set_default(registry, "sw-a")
    versions.delete_version(registry, "sw-a", 1)
    assert chosen(registry, "sw") == "sw-b@1"


def test_a_default_is_of_one_backbone(registry: Registry) -> None:
    add_made_backbone(registry, OTHER_FINGERPRINT, "other")
    for number, name in enumerate(("sw-a", "sw-b")):
        for fingerprint in (FINGERPRINT, OTHER_FINGERPRINT):
            publish_made(registry, name, seed=number, fingerprint=fingerprint)
    set_default(registry, "sw-a")
    assert chosen(registry, "sw") == "sw-a@1"
    with pytest.raises(AmbiguousAdapter):
        chosen(registry, "sw", OTHER_FINGERPRINT)
    assert catalog.get_default(registry, kind="language", key="sw", fingerprint=OTHER_FINGERPRINT) is None


def test_a_default_must_exist_and_fit(registry: Registry) -> None:
    publish_made(registry, "sw")
    with pytest.raises(UnknownVersion):
        set_default(registry, "sw@7")
    with pytest.raises(UnknownBackbone):
        set_default(registry, "sw", OTHER_FINGERPRINT)
    add_made_backbone(registry, OTHER_FINGERPRINT, "other")
    with pytest.raises(WrongBackbone):
        set_default(registry, "sw", OTHER_FINGERPRINT)


def test_an_adapter_for_another_backbone_is_no_unknown_language(registry: Registry) -> None:
    add_made_backbone(registry, OTHER_FINGERPRINT, "other")
    publish_made(registry, "sw")
    with pytest.raises(WrongBackbone, match=r"sw.*do not run on backbone other"):
        chosen(registry, "sw", OTHER_FINGERPRINT)


def test_unknown_languages_come_with_the_nearest(registry: Registry) -> None:
    for key in ("da", "en", "sw"):
        publish_made(registry, f"{key}-tiny", key=key)
    for typed, nearest in (("nb", "da"), ("pcm", "en"), ("swahili", "sw")):
        with pytest.raises(UnknownLanguage, match=typed) as caught:
            chosen(registry, typed)
        assert caught.value.nearest[0] == nearest
        assert caught.value.code == "unknown_language"


def test_unknown_tasks_come_with_the_nearest(registry: Registry) -> None:
    publish_made(registry, "ner", "task", key="ner")
    with pytest.raises(UnknownTask) as caught:
        catalog.choose(registry, kind="task", key="nre", fingerprint=FINGERPRINT)
    assert caught.value.nearest == ("ner",)
