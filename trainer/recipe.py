"""Hyper-parameters by name: `trainer/recipes/NAME.toml`, one file per table row of a paper, and the demo's own.

A user's own file in the same form works the same way: its path stands for the name.
"""

import difflib
import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from .errors import InvalidRecipe, UnknownRecipe
from .loop import Decay

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimiser:
    """What both kinds of training share; `warm_up` is a share of all steps.

    `bf16` multiplies in bfloat16 where the device has it: a processor that emulates it takes longer than in float32.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    learning_rate: PositiveFloat
    warm_up: Share = 0.0
    decay: Decay = "linear"
    floor: Share = 0.0
    weight_decay: NonNegativeFloat = 0.0
    clip_norm: PositiveFloat = 1.0
    dropout: Share = 0.1
    bf16: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRecipe:
    """Language adapters. `epochs` caps the steps on little text, though never below `least_steps`.

    `patience` counts evaluations without a better score; 0 never stops early. `held_out_chunks` is the most held out.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    optimiser: Optimiser
    steps: PositiveInt
    epochs: PositiveInt | None = None
    least_steps: PositiveInt = 1
    batch: PositiveInt
    length: Annotated[int, Field(ge=3)]
    evaluate_every: PositiveInt
    patience: NonNegativeInt = 0
    held_out_share: Share = 0.05
    held_out_chunks: PositiveInt = 256
    mask_probability: Share = 0.15
    reduction: PositiveFloat = 2.0
    leave_out: tuple[int, ...] = ()

    def total_steps(self, chunks: int) -> int:
        if self.epochs is None:
            return self.steps
        by_epochs = self.epochs * max(1, -(-chunks // self.batch))
        return min(self.steps, max(by_epochs, self.least_steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecipe:
    """Task adapters. `batch` counts sentences; `evaluate_every` counts steps, 0 meaning once an epoch.

    `language_leave_out` lists layers of the language adapter that do not act, counted from the end if negative.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    optimiser: Optimiser
    epochs: PositiveInt
    batch: PositiveInt
    evaluate_every: NonNegativeInt = 0
    patience: NonNegativeInt = 0
    held_out_share: Share = 0.1
    reduction: PositiveFloat = 16.0
    leave_out: tuple[int, ...] = ()
    language_leave_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    __pydantic_config__ = ConfigDict(extra="forbid")

    source: str
    language: LanguageRecipe
    task: TaskRecipe


_READER = TypeAdapter(Recipe)


def layers_from_end(layers: tuple[int, ...], num_layers: int) -> tuple[int, ...]:
    """Negative layer numbers, counted from the end as in Python, -> 0-based ones, ascending. Raises `InvalidRecipe`."""
    beyond = [layer for layer in layers if not -num_layers <= layer < num_layers]
    if beyond:
        raise InvalidRecipe(f"the recipe leaves out layer {beyond[0]}, but the backbone has {num_layers} layers")
    return tuple(sorted({layer + num_layers if layer < 0 else layer for layer in layers}))


def recipe_names() -> tuple[str, ...]:
    return tuple(sorted(file.name.removesuffix(".toml") for file in _shipped() if file.name.endswith(".toml")))


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by name, or a `.toml` file by path. Raises `UnknownRecipe`, `InvalidRecipe`."""
    if name in recipe_names():
        text = resources.files("trainer").joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
        return _read(text, name)
    if not name.endswith(".toml"):
        near = difflib.get_close_matches(name, recipe_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(recipe_names())}"
        raise UnknownRecipe(f"no recipe is named {name!r}; {hint} (or give the path of a .toml file)")
    try:
        return _read(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise UnknownRecipe(f"the recipe {name} cannot be read: {error}") from error


def _shipped() -> list[Traversable]:
    return list(resources.files("trainer").joinpath("recipes").iterdir())


def _read(text: str, place: str) -> Recipe:
    try:
        return _READER.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidRecipe(f"{place} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidRecipe(f"{place}: {field}: {first['msg']}") from error
