"""The peer of the bare backbone: `transformers` on the same weights, rows padded to the longest of their batch."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from ..rounds import Step, timed
from ..traffic import Ask, tokens_of


def load_padded(folder: Path, *, device: str) -> Any:
    """The masked-LM model in float32 with SDPA attention, in evaluation mode; the library has no types to name."""
    auto: Any = transformers.AutoModelForMaskedLM
    with _quiet():
        model = auto.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
    return model.eval().to(device)


@contextmanager
def _quiet() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        transformers.logging.enable_progress_bar()


def pad(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Piece ids (B, S) and mask (B, S), S being the longest row."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids.to(device), mask.to(device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """The encoder, on rows in batches as they come."""

    model: Any
    batch_rows: int

    def steps(self, rows: Sequence[Ask]) -> list[Step]:
        chunks = [rows[start : start + self.batch_rows] for start in range(0, len(rows), self.batch_rows)]
        return [Step(tokens=tokens_of(chunk), run=partial(timed, partial(self._run, chunk))) for chunk in chunks]

    @torch.inference_mode()
    def _run(self, chunk: Sequence[Ask]) -> None:
        ids, mask = pad([ask.ids for ask in chunk], self.model.config.pad_token_id, self.model.device)
        self.model.base_model(input_ids=ids, attention_mask=mask)
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def vocabulary_logits(self, rows: Sequence[Ask], positions: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Of one padded batch: each row's masked-LM logits (P, V) at its `positions`."""
        ids, mask = pad([ask.ids for ask in rows], self.model.config.pad_token_id, self.model.device)
        logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return [logits[number, list(of_row)] for number, of_row in enumerate(positions)]
