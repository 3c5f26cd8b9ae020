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
            assert not isinstance(found, Ranked)
            assert np.array_equal(found, alone)
