"""What a precision costs in answers: logits and labels held against float32's, on the demo and on random weights.

Drift is max |difference| over max |logit|, both over all rows. A row agrees where all its labels are float32's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from glossa.demo import demo_adapters, demo_backbone
from glossa.home import Home
from madx.adapter import Adapter
from madx.checkpoint import from_safetensors
from madx.config import BackboneConfig
from madx.forward import Row
from madx.manifest import from_bytes
from madx.plan import RowStack, Slot
from madx.tasks.ner import encode_words
from registry.datasets.locate import LocatedFile
from registry.datasets.readers.reading import tagged_sentences_of
from service.settings import default_home

from .figures import Absolute, Figure
from .served import open_model_of, slot_of

_BATCH_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """`rows` and `words` are shares of 1."""

    drift: float
    rows: float
    words: float

    def figures(self, prefix: str, dtype: str) -> dict[str, Figure]:
        return {
            f"{prefix}label_agreement_{dtype}": Absolute(value=100 * self.rows, unit="%"),
            f"{prefix}word_agreement_{dtype}": Absolute(value=100 * self.words, unit="%"),
            f"{prefix}drift_{dtype}": Absolute(value=self.drift, unit="of the largest logit"),
        }


def agreement(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> Agreement:
    """Logits (words, labels) of the same rows. A row without words agrees; drift is NaN where a logit is."""
    pairs = [(ours.float().cpu(), theirs.float().cpu()) for ours, theirs in zip(found, expected, strict=True)]
    equal = [ours.argmax(dim=1) == theirs.argmax(dim=1) for ours, theirs in pairs]
    words = torch.cat(equal)
    largest = torch.cat([theirs.flatten() for _, theirs in pairs]).abs().max()
    worst = torch.cat([(ours - theirs).flatten() for ours, theirs in pairs]).abs().max()
    return Agreement(
        drift=float(worst / largest),
        rows=sum(bool(each.all()) for each in equal) / len(equal),
        words=float(words.float().mean()),
    )


def tested(languages: Sequence[str]) -> Iterator[tuple[str, LocatedFile]]:
    """The catalogue's NER test sets in these languages; GLOSSA_DATA_DIR has them."""
    places = Home(root=default_home()).data_places()
    for dataset in places.catalogue.select(task="ner"):
        if dataset.language in languages and "test" in dataset.splits:
            yield dataset.language, places.locate(dataset.name, "test", task="ner")


class Demo:
    """The demo's backbone and adapters, opened in one precision."""

    def __init__(self, *, device: str, dtype: str) -> None:
        self.model = open_model_of(demo_backbone(), device=device, dtype=dtype)
        shape = self.model.loaded.config
        self.slots = {name: slot_of(self.model, adapter) for name, adapter in _shipped(shape).items()}

    @property
    def languages(self) -> dict[str, Slot]:
        prefix = "lang-"
        return {name.removeprefix(prefix): slot for name, slot in self.slots.items() if name.startswith(prefix)}

    def rows(self, files: Sequence[tuple[str, LocatedFile]], *, sentences: int | None) -> list[Row]:
        """At most `sentences` of each file, long ones cut as the server cuts them."""
        tokenizer, most = self.model.loaded.tokenizer, self.model.loaded.config.max_tokens
        rows: list[Row] = []
        for language, file in files:
            stack = RowStack(language=self.languages[language], task=self.slots["ner"])
            for sentence in list(tagged_sentences_of(file))[:sentences]:
                rows.extend(
                    Row(input_ids=window.input_ids, positions=window.positions, stack=stack)
                    for window in encode_words(sentence.words, tokenizer, max_tokens=most, overlap=(most - 2) // 4)
                )
        return rows

    def logits(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """Each row's (words, labels), in batches of like length, as nothing here is timed."""
        order = sorted(range(len(rows)), key=lambda number: len(rows[number].input_ids))
        found: dict[int, torch.Tensor] = {}
        for start in range(0, len(order), _BATCH_ROWS):
            batch = order[start : start + _BATCH_ROWS]
            found.update(zip(batch, self.model.infer([rows[number] for number in batch]), strict=True))
        return [found[number] for number in range(len(rows))]


def _shipped(shape: BackboneConfig) -> dict[str, Adapter]:
    return {
        name: from_safetensors(Path(folder.weights).read_bytes(), from_bytes(folder.manifest), shape)
        for name, folder in demo_adapters().items()
    }


def demo_agreement(dtypes: Sequence[str], *, device: str, sentences: int | None = None) -> dict[str, Figure]:
    """Each precision on the demo's test sets."""
    exact = Demo(device=device, dtype="float32")
    files = list(tested(list(exact.languages)))
    rows = exact.rows(files, sentences=sentences)
    expected = exact.logits(rows)
    figures: dict[str, Figure] = {"label_agreement_rows": Absolute(value=len(rows), unit="rows")}
    for dtype in dtypes:
        figures |= agreement(Demo(device=device, dtype=dtype).logits(rows), expected).figures("", dtype)
    return figures
