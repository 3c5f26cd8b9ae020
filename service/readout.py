"""What of a row's logits leaves the device: all of them, or the best candidates of each position.

Fill-mask has a quarter of a million classes on a large vocabulary; shipping and sorting them for every mask on the
event loop would cost more than the forward. Runs in the device thread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class AllLogits:
    """(positions, classes) as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The `top_k` likeliest classes of each position, among `targets` where there are any."""

    top_k: int
    targets: tuple[int, ...] | None = None


Readout = AllLogits | Candidates
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Per position its candidates, best first, and their probabilities over all classes."""

    classes: list[list[int]]
    probabilities: list[list[float]]


RowAnswer = Logits | Ranked


@torch.inference_mode()
def read_rows(logits: Sequence[torch.Tensor], readouts: Sequence[Readout]) -> list[RowAnswer | None]:
    """Each row's logits, on the device, by its own readout; None where a number of its answer is not finite.

    All that leave the device as they are leave it in one copy.
    """
    whole = [index for index, readout in enumerate(readouts) if isinstance(readout, AllLogits)]
    moved = dict(enumerate(logits))
    is_whole_finite = True
    if whole:
        flat = torch.cat([logits[index].flatten() for index in whole]).cpu()
        is_whole_finite = bool(flat.isfinite().all())  # seldom False: a look at each row would take much longer
        parts = flat.split([logits[index].numel() for index in whole])
        moved |= {index: part.view_as(logits[index]) for index, part in zip(whole, parts, strict=True)}
    answers = [read(moved[index], readout) for index, readout in enumerate(readouts)]

    def holds(answer: RowAnswer) -> bool:
        return (is_whole_finite and not isinstance(answer, Ranked)) or is_finite(answer)

    return [answer if holds(answer) else None for answer in answers]


def is_finite(answer: RowAnswer) -> bool:
    """A logit that is not finite makes every probability of its position NaN."""
    if isinstance(answer, Ranked):
        return all(math.isfinite(probability) for of_one in answer.probabilities for probability in of_one)
    return bool(np.isfinite(answer).all())


@torch.inference_mode()
def read(logits: torch.Tensor, readout: Readout) -> RowAnswer:
    """One row's logits (positions, classes) on the device -> its answer on the CPU."""
    if isinstance(readout, AllLogits):
        all_logits: Logits = logits.float().cpu().numpy()
        return all_logits
    probabilities = logits.float().softmax(dim=-1)
    if readout.targets is None:
        top = probabilities.topk(min(readout.top_k, probabilities.shape[-1]), dim=-1)
        return Ranked(classes=top.indices.tolist(), probabilities=top.values.tolist())
    targets = torch.tensor(readout.targets, device=logits.device)
    top = probabilities.index_select(-1, targets).topk(min(readout.top_k, len(targets)), dim=-1)
    return Ranked(classes=targets[top.indices].tolist(), probabilities=top.values.tolist())
