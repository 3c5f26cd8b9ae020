"""What ends a run before anything is timed: a precision whose logits are too far from float32's, or none at all."""

import math

import pytest
import torch

from benchmarks.agreement import agreement
from benchmarks.comparing import hold_drift


def logits() -> list[torch.Tensor]:
    return [torch.tensor([[4.0, 1.0], [0.5, 2.0]]), torch.empty(0, 2), torch.tensor([[1.0, 3.0]])]


def test_small_drift_passes_and_large_drift_ends_the_run() -> None:
    near, far = ([each + by for each in logits()] for by in (0.1, 0.5))
    hold_drift("near", agreement(near, logits()).drift)
    with pytest.raises(SystemExit, match=r"far: logits differ by 0\.125"):
        hold_drift("far", agreement(far, logits()).drift)


def test_what_is_not_a_number_ends_the_run_wherever_it_stands() -> None:
    broken = logits()
    broken[-1][0, 1] = math.nan
    drift = agreement(broken, logits()).drift
    assert math.isnan(drift)
    with pytest.raises(SystemExit, match="nan"):
        hold_drift("broken", drift)
