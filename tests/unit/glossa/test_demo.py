"""The demo: found, published once into an empty home, and asked in one batch of several languages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import glossa.demo
from glossa.demo import MARKER, demo_adapters, is_due, publish_demo
from glossa.home import Home
from madx.loading import load_backbone
from registry import search, versions
from registry.registry import Registry
from tests.support.adapter_folders import write_folder
from tests.support.tiny import language_checkpoint, make_backbone, task_checkpoint

Glossa = Any
SHIPPED = glossa.demo.demo_folder
LANGUAGES = ("en", "sw", "ha", "yo", "zh")


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo folder of random weights."""
    folder = tmp_path_factory.mktemp("demo")
    loaded = load_backbone(make_backbone(folder / "backbone"))
    for seed, code in enumerate(LANGUAGES):
        write_folder(folder / "adapters" / f"lang-{code}", *language_checkpoint(loaded, code, seed=seed))
    write_folder(folder / "adapters" / "ner", *task_checkpoint(loaded, seed=9))
    return folder


@pytest.fixture(autouse=True)
def found(small_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glossa.demo, "demo_folder", lambda: small_demo)


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with Home(root=home).registry() as opened:
        yield opened


def test_the_demo_lies_beside_the_package_or_in_it() -> None:
    assert (SHIPPED() / "README.md").is_file()


def test_the_demo_is_due_once(registry: Registry, home: Path) -> None:
    assert is_due(registry, home)
    published = publish_demo(registry, home)
    assert [version.reference for version in published] == [f"{name}@1" for name in demo_adapters()]
    assert not is_due(registry, home)
    versions.delete_version(registry, "ner", 1)
    assert not is_due(registry, home)


def test_a_demo_that_was_published_in_part_is_due_again(registry: Registry, home: Path) -> None:
    publish_demo(registry, home)
    (home / MARKER).unlink()
    versions.delete_version(registry, "ner", 1)
    assert is_due(registry, home)
    publish_demo(registry, home)
    assert [adapter.name for adapter in search.search_adapters(registry).items] == list(demo_adapters())


def test_a_home_with_other_adapters_is_left_alone(trained: Glossa, home: Path) -> None:
    with Home(root=home).registry() as registry:
        assert not is_due(registry, home)


def test_predicting_on_an_empty_home_publishes_the_demo(glossa: Glossa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOSSA_BACKBONE")
    done = glossa("predict", "--language", "swa", "--json", "Juma anaishi Nairobi.")
    assert done.status == 0
    assert "published the demo" in done.err
    assert len(json.loads(done.out)) == 1
    again = glossa("predict", "--language", "swa", "Juma")
    assert "ran lang-sw@1, ner@1" in again.err
    assert "published" not in again.err


def test_the_demo_asks_one_batch_and_ends_with_its_answers(glossa: Glossa) -> None:
    done = glossa("demo", "--once")
    assert done.status == 0, done.err
    last = done.out.splitlines()[-1]
    assert last.startswith("DEMO ")
    answers = json.loads(last.removeprefix("DEMO "))
    assert list(answers) == list(LANGUAGES)
    assert any(answers.values())
    for code in LANGUAGES:
        assert f"language adapter lang-{code}@1" in done.out
        for entity in answers[code]:
            assert set(entity) == {"entity_group", "score", "word", "start", "end"}


def test_the_demo_says_when_too_few_languages_answer(glossa: Glossa, tmp_path: Path) -> None:
    glossa("demo", "--once")
    for code in ("sw", "yo"):
        glossa("adapters", "pull", f"lang-{code}", "--output", tmp_path / code)
        glossa("adapters", "push", tmp_path / code, "--name", f"my-{code}")
    done = glossa("demo", "--once")
    assert done.status == 1
    assert "glossa adapters default" in done.err
