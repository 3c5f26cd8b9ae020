"""docs/training.md names every recipe that ships, and no other."""

import re
from pathlib import Path

from trainer.recipe import recipe_names


def test_every_recipe_is_told_of(checkout: Path) -> None:
    page = (checkout / "docs" / "training.md").read_text("utf-8")
    section = page[page.index("## Recipes") : page.index("## Scores")]
    assert set(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)) == set(recipe_names())
