"""/v1/adapters, /v1/languages, /v1/tasks: what is shown is what can be asked."""

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from madx.config import Composition
from madx.loading import load_backbone
from registry import aliases, catalog
from registry.references import AdapterRef
from tests.support import tiny
from tests.support.served import Home


def items(client: TestClient, what: str) -> list[dict[str, Any]]:
    response = client.get(f"/v1/{what}")
    assert response.status_code == 200
    assert response.json().get("next_cursor") is None
    listed: list[dict[str, Any]] = response.json()["items"]
    return listed


def test_languages_have_their_codes_names_and_adapters(client: TestClient) -> None:
    assert items(client, "languages") == [
        {"code": "en", "name": "English", "iso639_3": "eng", "adapters": ["en@1"], "default": "en@1"},
        {"code": "sw", "name": "Swahili", "iso639_3": "swa", "adapters": ["sw@1"], "default": "sw@1"},
    ]


def test_tasks_have_labels_and_defaults(client: TestClient) -> None:
    ner, fill_mask = items(client, "tasks")
    assert (ner["task"], ner["labels"]) == ("ner", list(tiny.NER_LABELS))
    assert (ner["adapters"], ner["default"], ner["needs_language"]) == (["ner@1"], "ner@1", True)
    assert (fill_mask["task"], fill_mask["needs_language"]) == ("fill-mask", False)


def answers_its_examples(client: TestClient) -> None:
    for item in items(client, "tasks"):
        response = client.post(f"/v1/predict/{item['task']}", json=item["example"])
        assert response.status_code == 200, response.text
        assert isinstance(response.json(), list)


def test_every_example_is_answered(client: TestClient) -> None:
    answers_its_examples(client)


def test_examples_are_answered_where_nothing_is_the_default(own_home: Home) -> None:
    composition = Composition(language="none")
    own_home.publish("ner-b", tiny.task_checkpoint(own_home.loaded, composition=composition, seed=9))
    own_home.publish("en-b", tiny.language_checkpoint(own_home.loaded, "en", seed=9))
    with own_home.client() as client:
        ner = items(client, "tasks")[0]
        assert (ner["adapters"], ner["default"]) == (["ner@1", "ner-b@1"], None)
        english = items(client, "languages")[0]
        assert (english["adapters"], english["default"]) == (["en@1", "en-b@1"], None)
        answers_its_examples(client)
        with own_home.registry() as registry:
            catalog.set_default(registry, AdapterRef(name="ner-b"), fingerprint=own_home.loaded.fingerprint)
        ner = items(client, "tasks")[0]
        assert (ner["default"], ner["needs_language"]) == ("ner-b@1", False)
        assert "parameters" not in ner["example"]
        answers_its_examples(client)


def test_a_default_that_does_not_run_any_more_is_shown_as_none(own_home: Home, tmp_path: Path) -> None:
    other = load_backbone(tiny.make_backbone(tmp_path / "other", seed=99))
    own_home.publish("sw-b", tiny.language_checkpoint(own_home.loaded, "sw", seed=9))
    with own_home.registry() as registry:
        catalog.set_default(registry, AdapterRef(name="sw"), fingerprint=own_home.loaded.fingerprint)
        tiny.register_backbone(registry, other)
        far = tiny.publish_adapter(registry, "sw", tiny.language_checkpoint(other, "sw", seed=5))
    with own_home.client() as client:
        assert [item["default"] for item in items(client, "languages")] == ["en@1", "sw@1"]
        with own_home.registry() as registry:
            aliases.move_alias(registry, "sw", "production", far.number)
            tiny.publish_adapter(registry, "sw-c", tiny.language_checkpoint(own_home.loaded, "sw", seed=10))
        assert [item["default"] for item in items(client, "languages")] == ["en@1", None]
        answers_its_examples(client)


def test_adapters_of_all_backbones_are_listed_with_whether_they_run_here(own_home: Home, tmp_path: Path) -> None:
    other = load_backbone(tiny.make_backbone(tmp_path / "other", seed=99))
    with own_home.registry() as registry:
        tiny.register_backbone(registry, other)
        tiny.publish_adapter(registry, "far", tiny.language_checkpoint(other, "xh", seed=5))
        newer = tiny.publish_adapter(registry, "sw", tiny.language_checkpoint(own_home.loaded, "sw", seed=6))
        aliases.move_alias(registry, "sw", "production", 1)
    with own_home.client() as client:
        listed = {item["name"]: item for item in items(client, "adapters")}
        assert [item["code"] for item in items(client, "languages")] == ["en", "sw"]
    assert list(listed) == ["en", "far", "ner", "sw"]
    assert [name for name, item in listed.items() if not item["newest"]["servable"]] == ["far"]
    assert (listed["sw"]["aliases"], listed["sw"]["num_versions"]) == ({"production": 1}, 2)
    assert (listed["sw"]["newest"]["reference"], listed["sw"]["newest"]["digest"]) == ("sw@2", newer.manifest_digest)
    assert listed["sw"]["newest"]["fingerprint"] == own_home.loaded.fingerprint
    assert (listed["ner"]["kind"], listed["ner"]["task"], listed["ner"]["language"]) == ("task", "ner", None)
    assert listed["ner"]["newest"]["labels"] == list(tiny.NER_LABELS)
    assert (listed["sw"]["kind"], listed["sw"]["language"]) == ("language", "sw")


def test_a_default_that_is_no_candidate_is_what_the_task_shows(own_home: Home) -> None:
    """`ner@1` runs, although the bare name stands for the second version, which needs no language."""
    checkpoint = tiny.task_checkpoint(own_home.loaded, composition=Composition(language="none"), seed=9)
    own_home.publish("ner", checkpoint)
    with own_home.client() as client:
        assert items(client, "tasks")[0]["needs_language"] is False
        with own_home.registry() as registry:
            catalog.set_default(registry, AdapterRef(name="ner", number=1), fingerprint=own_home.loaded.fingerprint)
        ner = items(client, "tasks")[0]
        assert (ner["adapters"], ner["default"], ner["needs_language"]) == (["ner@2"], "ner@1", True)
        answers_its_examples(client)


def test_an_empty_registry_lists_fill_mask_alone(home: Home, tmp_path: Path) -> None:
    with home.client(home=tmp_path / "new") as client:
        assert items(client, "adapters") == items(client, "languages") == []
        (fill_mask,) = items(client, "tasks")
        assert fill_mask["task"] == "fill-mask"
        answers_its_examples(client)
        refusal = client.post("/v1/predict/ner?language=sw", json={"inputs": "x"})
        assert (refusal.status_code, refusal.json()["code"]) == (404, "unknown_task")
