"""Tiny made-up data, recipes and workplaces on which real training runs end within a second or two."""

import random
from dataclasses import replace
from pathlib import Path

from madx.loading import LoadedBackbone
from registry.datasets.catalogue import Catalogue
from registry.registry import open_registry
from tests.support.tiny import WORDS
from trainer.data import DataPlaces
from trainer.jobs.language import LanguageSpec
from trainer.jobs.task import TaskSpec
from trainer.jobs.workplace import Workplace
from trainer.recipe import LanguageRecipe, Optimiser, TaskRecipe

PEOPLE = ("Juma", "Amina")
PLACES = ("London", "Paris", "Kenya", "Tanzania")
OTHERS = ("the", "cat", "sat", "on", "mji", "wa")

LANGUAGE_RECIPE = LanguageRecipe(
    optimiser=Optimiser(learning_rate=2e-3, warm_up=0.1, dropout=0.1),
    steps=24,
    batch=4,
    length=24,
    evaluate_every=8,
)
TASK_RECIPE = TaskRecipe(
    optimiser=Optimiser(learning_rate=1e-2, warm_up=0.1, dropout=0.1), epochs=6, batch=8, reduction=2.0
)


def write_text(path: Path, *, lines: int = 200, seed: int = 0) -> Path:
    """Lines in which each word is followed by its successor in a fixed order: there is something to learn."""
    generator = random.Random(seed)
    text = []
    for _ in range(lines):
        start = generator.randrange(12)
        text.append(" ".join(WORDS[(start + place) % 12] for place in range(generator.randint(4, 9))))
    path.write_text("\n".join(f"{line} {number}" for number, line in enumerate(text)) + "\n", encoding="utf-8")
    return path


def write_tagged(path: Path, *, sentences: int = 120, seed: int = 0) -> Path:
    """People and places that their own words give away."""
    generator = random.Random(seed)
    blocks = []
    for _ in range(sentences):
        words = []
        for _ in range(generator.randint(3, 8)):
            word = generator.choice(generator.choice((PEOPLE, PLACES, OTHERS, OTHERS)))
            words.append(f"{word} {'B-PER' if word in PEOPLE else 'B-LOC' if word in PLACES else 'O'}")
        blocks.append("\n".join(words))
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def workplace(home: Path, loaded: LoadedBackbone, *, catalogue: Catalogue | None = None) -> Workplace:
    return Workplace(
        loaded=loaded,
        registry=open_registry(home),
        data=DataPlaces(
            catalogue=Catalogue(datasets=()) if catalogue is None else catalogue,
            data_dir=None,
            cache_dir=home / "data",
        ),
        runs=home / "runs",
    )


def language_spec(data: Path, *, name: str = "sw-made", steps: int = LANGUAGE_RECIPE.steps) -> LanguageSpec:
    return LanguageSpec(name=name, language="sw", data=str(data), recipe=replace(LANGUAGE_RECIPE, steps=steps))


def task_spec(train: Path, *, name: str = "ner-made", language_adapter: str | None = None) -> TaskSpec:
    return TaskSpec(name=name, train=str(train), language_adapter=language_adapter, recipe=TASK_RECIPE)
