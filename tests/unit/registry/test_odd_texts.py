"""Whatever text is asked for, the answer is one that says so: found, not found, or refused; never a driver's error."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from madx.errors import GlossaError
from registry import aliases, catalog, lineage, search
from registry.errors import InvalidName
from registry.registry import Registry
from tests.support.made_adapters import FINGERPRINT, publish_made

Ask = Callable[[Registry, str], object]
ASKED: dict[str, Ask] = {
    "prefix": lambda registry, text: search.search_adapters(registry, prefix=text),
    "label": lambda registry, text: search.search_adapters(registry, label=text),
    "task": lambda registry, text: search.search_adapters(registry, task=text),
    "language": lambda registry, text: search.search_adapters(registry, language=text),
    "backbone": lambda registry, text: search.search_adapters(registry, fingerprint=text),
    "backbone by name": catalog.get_backbone,
    "adapter": search.show_adapter,
    "versions": search.list_versions,
    "alias": lambda registry, text: aliases.get_alias(registry, "sw", text),
    "history": lambda registry, text: aliases.alias_history(registry, "sw", text),
    "lineage": lambda registry, text: lineage.lineage_of(registry, text, 1),
    "choice": lambda registry, text: catalog.choose(registry, kind="task", key=text, fingerprint=FINGERPRINT),
}
TEXTS = {"NUL": "a\0b", "long": "x" * 10_000, "last": "\uffff", "quote": "'; --", "line": "\n", "empty": ""}


@pytest.mark.parametrize("asked", ASKED)
def test_odd_texts(registry: Registry, asked: str) -> None:
    publish_made(registry, "sw")
    for text in TEXTS.values():
        with suppress(GlossaError):
            ASKED[asked](registry, text)
    if asked != "language":
        with pytest.raises(InvalidName, match="cannot keep"):
            ASKED[asked](registry, "\udcff")  # of a byte on the command line that is no UTF-8
