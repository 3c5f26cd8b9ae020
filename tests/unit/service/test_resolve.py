"""Which versions run: explicit references, the only one, the default, the composition."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from madx.config import Composition
from madx.errors import InvalidInput, NoMaskedLMHead
from madx.loading import load_backbone
from registry import aliases, catalog
from registry.errors import AmbiguousAdapter, UnknownTask, UnknownVersion, WrongBackbone
from registry.references import AdapterRef
from registry.registry import Registry
from registry.values import Version
from service.errors import LanguageMissing
from service.resolutions import Resolutions
from service.resolve import Question, Stack, Target, resolve_masked_lm, resolve_task
from service.schemas import StackParameters
from service.tasks.prepared import Prepared, asked
from service.watcher import Watcher
from tests.support import tiny
from tests.support.served import Home, make_home


def target_of(home: Home) -> Target:
    return Target(
        num_layers=home.loaded.config.num_layers,
        masked_lm=home.loaded.backbone.masked_lm is not None,
    )


def lookups(home: Home, registry: Registry) -> Resolutions:
    """Nothing is remembered: nobody watches the registry."""
    return Resolutions(registry, home.loaded.fingerprint, Watcher(registry))


@pytest.fixture
def registry(own_home: Home) -> Iterator[Registry]:
    with own_home.registry() as opened:
        yield opened


def names(stack: Stack) -> tuple[str | None, str | None]:
    return (stack.language and stack.language.reference, stack.task and stack.task.reference)  # type: ignore[return-value]


def stack_of(home: Home, registry: Registry, task: str = "ner", **parameters: Any) -> tuple[str | None, str | None]:
    code = parameters.pop("language", None)
    return names(resolve_task(lookups(home, registry), target_of(home), task, code, StackParameters(**parameters)))


def test_the_only_adapters_run(own_home: Home, registry: Registry) -> None:
    assert stack_of(own_home, registry, language="swa") == ("sw@1", "ner@1")
    assert stack_of(own_home, registry, language_adapter=None) == (None, "ner@1")


@pytest.mark.parametrize("language", ["sw-TZ", "swa-Latn-KE", "sw-x-coast"])
def test_a_region_or_script_falls_back_to_the_language(own_home: Home, registry: Registry, language: str) -> None:
    assert stack_of(own_home, registry, language=language) == ("sw@1", "ner@1")


def test_a_region_with_an_adapter_of_its_own_does_not_fall_back(own_home: Home, registry: Registry) -> None:
    tiny.publish_adapter(registry, "sw-cd", tiny.language_checkpoint(own_home.loaded, "sw-CD", seed=9))
    assert stack_of(own_home, registry, language="sw-CD") == ("sw-cd@1", "ner@1")
    assert stack_of(own_home, registry, language="sw") == ("sw@1", "ner@1")


def test_references_win_over_the_language(own_home: Home, registry: Registry) -> None:
    tiny.publish_adapter(registry, "ner", tiny.task_checkpoint(own_home.loaded, seed=9))
    aliases.move_alias(registry, "ner", "old", 1)
    assert stack_of(own_home, registry, language="sw") == ("sw@1", "ner@2")
    assert stack_of(own_home, registry, language="sw", adapter="ner@old") == ("sw@1", "ner@1")
    assert stack_of(own_home, registry, language="sw", adapter="ner@1", language_adapter="en") == ("en@1", "ner@1")


def test_several_adapters_are_ambiguous_until_a_default_is_set(own_home: Home, registry: Registry) -> None:
    tiny.publish_adapter(registry, "ner-b", tiny.task_checkpoint(own_home.loaded, seed=9))
    tiny.publish_adapter(registry, "sw-b", tiny.language_checkpoint(own_home.loaded, "sw", seed=9))
    with pytest.raises(AmbiguousAdapter) as caught:
        stack_of(own_home, registry, language="sw")
    assert caught.value.candidates == ("ner", "ner-b")
    with pytest.raises(AmbiguousAdapter) as caught:
        stack_of(own_home, registry, adapter="ner", language="sw")
    assert caught.value.candidates == ("sw", "sw-b")
    for name in ("ner-b", "sw-b"):
        catalog.set_default(registry, AdapterRef(name=name), fingerprint=own_home.loaded.fingerprint)
    assert stack_of(own_home, registry, language="sw") == ("sw-b@1", "ner-b@1")


def test_the_composition_says_whether_a_language_is_needed(own_home: Home, registry: Registry) -> None:
    for name, composition in {
        "none": Composition(language="none"),
        "pinned": Composition(language="en@1"),
        "lost": Composition(language="en@8"),
        "astray": Composition(language="ner@1"),
        "swapped": Composition(leave_out=(1,)),
    }.items():
        tiny.publish_adapter(registry, name, tiny.task_checkpoint(own_home.loaded, composition=composition, seed=5))
    assert stack_of(own_home, registry, adapter="none") == (None, "none@1")
    assert stack_of(own_home, registry, adapter="none", language="sw") == (None, "none@1")
    assert stack_of(own_home, registry, adapter="none", language_adapter="sw") == ("sw@1", "none@1")
    assert stack_of(own_home, registry, adapter="pinned", language="sw") == ("en@1", "pinned@1")
    with pytest.raises(UnknownVersion):
        stack_of(own_home, registry, adapter="lost")
    with pytest.raises(InvalidInput, match="ner@1 is a task adapter"):
        stack_of(own_home, registry, adapter="astray")
    with pytest.raises(LanguageMissing):
        stack_of(own_home, registry, adapter="swapped")


def test_left_out_layers_come_from_the_composition_unless_the_request_says(own_home: Home, registry: Registry) -> None:
    composition = Composition(leave_out=(1,))
    tiny.publish_adapter(registry, "last", tiny.task_checkpoint(own_home.loaded, composition=composition, seed=5))

    def left_out(**parameters: Any) -> tuple[int, ...]:
        named = StackParameters(**({"adapter": "last"} | parameters))
        return resolve_task(lookups(own_home, registry), target_of(own_home), "ner", "sw", named).leave_out

    assert left_out() == (1,)
    assert left_out(leave_out=[]) == ()
    assert left_out(leave_out=[1, 0, 1]) == (0, 1)
    assert left_out(language_adapter=None) == ()
    for wrong in ([2], [-1]):
        with pytest.raises(InvalidInput, match="0 to 1"):
            left_out(leave_out=wrong)


def test_an_adapter_for_another_backbone_is_refused(own_home: Home, registry: Registry, tmp_path: Path) -> None:
    other = load_backbone(tiny.make_backbone(tmp_path / "other", seed=99))
    assert other.fingerprint != own_home.loaded.fingerprint
    tiny.register_backbone(registry, other)
    tiny.publish_adapter(registry, "far", tiny.task_checkpoint(other, seed=5))
    tiny.publish_adapter(registry, "xh", tiny.language_checkpoint(other, "xh", seed=5))
    for parameters in ({"adapter": "far"}, {"language_adapter": "xh"}, {"language": "xh"}):
        with pytest.raises(WrongBackbone):
            stack_of(own_home, registry, **({"language": "sw"} | parameters))
    assert stack_of(own_home, registry, language="sw") == ("sw@1", "ner@1")


def test_a_task_without_adapters_is_unknown(own_home: Home, registry: Registry) -> None:
    with pytest.raises(UnknownTask):
        stack_of(own_home, registry, task="pos", language="sw")


def test_an_adapter_of_another_task_is_refused(own_home: Home, registry: Registry) -> None:
    tiny.publish_adapter(registry, "pos", tiny.task_checkpoint(own_home.loaded, task="pos", labels=("N", "V"), seed=5))
    with pytest.raises(InvalidInput, match="for pos, not ner"):
        stack_of(own_home, registry, adapter="pos", language="sw")


def masked(home: Home, registry: Registry, **parameters: Any) -> tuple[str | None, str | None]:
    code = parameters.pop("language", None)
    return names(resolve_masked_lm(lookups(home, registry), target_of(home), code, StackParameters(**parameters)))


def test_fill_mask_takes_the_language_asked_for_or_none(own_home: Home, registry: Registry) -> None:
    assert masked(own_home, registry) == (None, None)
    assert masked(own_home, registry, language="swa") == ("sw@1", None)
    assert masked(own_home, registry, language="swa", language_adapter="en@1") == ("en@1", None)
    assert masked(own_home, registry, language="swa", language_adapter=None) == (None, None)


def test_a_backbone_without_a_head_fills_masks_through_an_adapter_that_has_one(tmp_path: Path) -> None:
    home = make_home(tmp_path, masked_lm=False)
    with home.registry() as registry:
        assert masked(home, registry, language="sw") == ("sw@1", None)
        for parameters in ({}, {"language": "en"}):
            with pytest.raises(NoMaskedLMHead):
                masked(home, registry, **parameters)
    with home.client() as client:
        body = {"inputs": "Juma lives in <mask>"}
        assert client.post("/v1/predict/fill-mask?language=sw", json=body).status_code == 200
        refusal = client.post("/v1/predict/fill-mask?language=en", json=body)
        assert (refusal.status_code, refusal.json()["code"]) == (409, "no_masked_lm_head")
        assert client.post("/v1/predict/ner?language=en", json={"inputs": "Juma"}).status_code == 200
        assert [item["task"] for item in client.get("/v1/tasks").json()["items"]] == ["ner"]


def test_conflicts_reach_the_client_with_what_it_can_choose(own_home: Home) -> None:
    own_home.publish("ner-b", tiny.task_checkpoint(own_home.loaded, seed=9))
    with own_home.client() as client:
        problem = client.post("/v1/predict/ner?language=sw", json={"inputs": "x"}).json()
    assert (problem["status"], problem["code"]) == (409, "ambiguous")
    assert problem["candidates"] == ["ner", "ner-b"]


def test_all_texts_of_a_request_run_on_one_version_of_an_adapter(own_home: Home, registry: Registry) -> None:
    """Though the reference goes over to another version between two texts of different languages."""
    versions_there = [own_home.version("ner"), own_home.publish("ner", tiny.task_checkpoint(own_home.loaded, seed=9))]

    def going_over(question: Question, version: Version) -> Version:
        return versions_there.pop(0) if version.name == "ner" else version

    def unencoded(stacks: tuple[Stack, ...]) -> Prepared:
        raise AssertionError(stacks)

    resolutions = Resolutions(registry, own_home.loaded.fingerprint, Watcher(registry), switched=going_over)
    parameters = StackParameters(language=["sw", "en", "sw"])
    request = asked(
        ("Juma", "John", "Asha"),
        parameters,
        lambda lookups, code: resolve_task(lookups, target_of(own_home), "ner", code, parameters),
        unencoded,
    )
    assert [names(stack) for stack in request.stacks(resolutions)] == [
        ("sw@1", "ner@1"),
        ("en@1", "ner@1"),
        ("sw@1", "ner@1"),
    ]
