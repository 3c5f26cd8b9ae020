"""docs/adapterhub.md lists every code with which an AdapterHub folder or an export can be refused."""

import re
from pathlib import Path

import glossa.adapterhub.errors
import madx.adapterhub.errors
from madx.errors import GlossaError, InvalidWeights
from registry.errors import AmbiguousBackbone

CODES = re.compile(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", re.MULTILINE)


def test_codes_are_those_of_the_page(checkout: Path) -> None:
    page = (checkout / "docs" / "adapterhub.md").read_text("utf-8").partition("## What is refused")[2]
    listed = {code for row in CODES.findall(page) for code in re.findall(r"`([a-z_]+)`", row)}
    classes = [*vars(glossa.adapterhub.errors).values(), *vars(madx.adapterhub.errors).values()]
    own = {one.code for one in classes if isinstance(one, type) and issubclass(one, GlossaError)} - {GlossaError.code}
    assert listed == own | {InvalidWeights.code, AmbiguousBackbone.code}
