"""Both sides compute the same thing, or there is nothing to compare: checks that run before anything is timed.

`|x - y| <= tolerance max(1, max |y|)`, as the project's oracles have it, a little wider for a deeper network.
"""

from collections.abc import Sequence

import torch

from .peers.padded import Padded
from .served import Served
from .traffic import Ask

TOLERANCE = 1e-4
MOST_DRIFT = 0.05


def hold_equal(name: str, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> None:
    """Float32 logits of the same rows, and so their labels where two logits are not nearly equal. Ends the run."""
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        mine, other = mine.float().cpu(), other.float().cpu()
        if mine.shape != other.shape:
            raise SystemExit(f"{name}, row {number}: {tuple(mine.shape)} here, {tuple(other.shape)} there")
        bound = TOLERANCE * max(1.0, float(other.abs().max()))
        worst = float((mine - other).abs().max())
        if not worst <= bound:
            raise SystemExit(f"{name}, row {number}: logits differ by {worst:.2e}, allowed are {bound:.2e}")
        top = other.topk(2, dim=1).values
        clear = top[:, 0] - top[:, 1] > 2 * bound
        if bool((mine.argmax(dim=1) != other.argmax(dim=1))[clear].any()):
            raise SystemExit(f"{name}, row {number}: the labels differ")


def hold_alone(served: Served, rows: Sequence[Ask], *, exact: bool) -> None:
    """A mixed batch gives each row what it gets alone; below float32 the order of sums may depend on the batch."""
    together = served.logits(rows, served.own_task)
    if any(not torch.isfinite(logits).all() for logits in together):
        raise SystemExit("the mixed batch has logits that are not finite")
    if exact:
        hold_equal(
            "a mixed batch and each row alone", together, [served.logits([ask], served.own_task)[0] for ask in rows]
        )
    other = served.logits(rows, served.one_stack)
    if all(torch.equal(mine, alike) for mine, alike in zip(together, other, strict=True)):
        raise SystemExit("the adapters do nothing")


def hold_drift(name: str, drift: float) -> None:
    """Of a precision's logits from float32's, over the largest one. What is not a number is too much."""
    if not drift <= MOST_DRIFT:
        raise SystemExit(f"{name}: logits differ by {drift:.3f} of the largest one, allowed are {MOST_DRIFT}")


def hold_padded(served: Served, padded: Padded, rows: Sequence[Ask]) -> None:
    """Our packed encoder and their padded one, each on all rows at once, by the masked-LM head at some positions."""
    positions = [(0, len(ask.ids) // 2, len(ask.ids) - 1) for ask in rows]
    hold_equal("transformers", served.vocabulary_logits(rows, positions), padded.vocabulary_logits(rows, positions))
