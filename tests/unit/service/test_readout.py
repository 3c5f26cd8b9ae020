"""What leaves the device of a batch of rows: each its own, though tagged rows cross together."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from service.readout import AllLogits, Candidates, Ranked, Readout, read, read_rows


@pytest.mark.parametrize(
    "readouts",
    [
        [AllLogits(), Candidates(top_k=2), AllLogits(), Candidates(top_k=3, targets=(4, 1)), AllLogits()],
        [Candidates(top_k=1)] * 5,
        [AllLogits()] * 5,
    ],
    ids=["mixed", "candidates", "logits"],
)
def test_rows_read_together_are_rows_read_alone(readouts: Sequence[Readout]) -> None:
    shapes = [(3, 5), (1, 9), (2, 7), (4, 6), (1, 2)]
    logits = [torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) for shape in shapes]
    for found, one, readout in zip(read_rows(logits, readouts), logits, readouts, strict=True):
        alone = read(one, readout)
        if isinstance(alone, Ranked):
            assert found == alone
        else:
            assert found is not None
            assert not isinstance(found, Ranked)
            assert np.array_equal(found, alone)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_a_row_with_a_number_that_is_not_finite_has_no_answer_and_the_others_have_theirs(wrong: float) -> None:
    logits = [torch.zeros(2, 3) for _ in range(5)]
    logits[1][1, 2] = logits[3][0, 0] = wrong
    readouts: list[Readout] = [AllLogits(), AllLogits(), Candidates(top_k=3), Candidates(top_k=3), AllLogits()]
    has_answer = [answer is not None for answer in read_rows(logits, readouts)]
    # A class of no probability at all is a number, as far as candidates go.
    assert has_answer == [True, False, True, wrong == float("-inf"), True]
