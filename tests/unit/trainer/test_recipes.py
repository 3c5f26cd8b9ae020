"""Recipes: the shipped ones hold what the papers say, own ones are checked field by field."""

import re
from importlib import resources
from pathlib import Path

import pytest

from trainer.errors import InvalidRecipe, UnknownRecipe
from trainer.recipe import layers_from_end, load_recipe, recipe_names


def test_every_shipped_file_is_a_recipe() -> None:
    assert set(recipe_names()) == {"demo", "mad-x", "mad-x-low-resource", "tlr-ner"}
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.source
        assert recipe.language.evaluate_every <= recipe.language.steps


def test_the_mad_x_papers_values() -> None:
    high, low = load_recipe("mad-x"), load_recipe("mad-x-low-resource")
    for recipe in (high, low):
        assert (recipe.language.steps, recipe.language.batch, recipe.language.optimiser.learning_rate) == (
            250_000,
            64,
            1e-4,
        )
        assert (recipe.language.reduction, recipe.task.reduction) == (2, 16)
        assert (recipe.task.epochs, recipe.task.optimiser.learning_rate) == (100, 1e-4)
    assert (high.task.batch, low.task.batch) == (16, 8)


def test_the_tlr_papers_steps() -> None:
    language = load_recipe("tlr-ner").language
    assert language.total_steps(chunks=80) == 30_000
    assert language.total_steps(chunks=4_000) == 50_000
    assert language.total_steps(chunks=10**6) == 100_000
    assert load_recipe("demo").language.total_steps(chunks=3) == load_recipe("demo").language.steps


def test_an_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(UnknownRecipe, match="did you mean mad-x"):
        load_recipe("madx")
    with pytest.raises(UnknownRecipe, match="there are demo, mad-x"):
        load_recipe("zzzz")
    with pytest.raises(UnknownRecipe, match="cannot be read"):
        load_recipe("nowhere/own.toml")


def test_own_recipes(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = resources.files("trainer").joinpath("recipes", "mad-x.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("learning_rate = 1e-4", "learning_rate = 3e-3", 1))
    assert load_recipe(str(path)).language.optimiser.learning_rate == 3e-3
    path.write_text(text.replace("learning_rate = 1e-4", "learning_rate = 1e-4\nwarmup = 0.1", 1))
    with pytest.raises(InvalidRecipe, match=r"language\.optimiser\.warmup"):
        load_recipe(str(path))
    path.write_text(text.replace("epochs = 100", 'epochs = "many"'))
    with pytest.raises(InvalidRecipe, match=r"task\.epochs"):
        load_recipe(str(path))
    path.write_text("[language")
    with pytest.raises(InvalidRecipe, match="is not TOML"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("was", "is_now", "field"),
    [
        ("epochs = 100", "epochs = 0", "task.epochs"),
        ("batch = 64", "batch = 0", "language.batch"),
        ("steps = 250000", "steps = -1", "language.steps"),
        ("length = 256", "length = 2", "language.length"),
        ("learning_rate = 1e-4", "learning_rate = 0.0", "language.optimiser.learning_rate"),
        ("learning_rate = 1e-4", "learning_rate = 1e-4\ndropout = 1.5", "language.optimiser.dropout"),
    ],
)
def test_values_out_of_range_name_their_field(was: str, is_now: str, field: str, tmp_path: Path) -> None:
    text = resources.files("trainer").joinpath("recipes", "mad-x.toml").read_text(encoding="utf-8")
    assert was in text
    path = tmp_path / "own.toml"
    path.write_text(text.replace(was, is_now, 1))
    with pytest.raises(InvalidRecipe, match=re.escape(field)):
        load_recipe(str(path))


def test_layers_counted_from_the_end() -> None:
    assert layers_from_end((-1, 0, -2), 12) == (0, 10, 11)
    assert layers_from_end((-12, 11), 12) == (0, 11)
    for beyond in (12, -13):
        with pytest.raises(InvalidRecipe, match=f"layer {beyond}, but the backbone has 12"):
            layers_from_end((beyond,), 12)
