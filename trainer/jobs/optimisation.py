"""A recipe's optimiser for a number of steps, on a device -> the loop's settings."""

import torch

from madx.precision import has_bfloat16

from ..loop import Optimisation, Schedule
from ..recipe import Optimiser


def optimisation(optimiser: Optimiser, *, steps: int, seed: int, device: torch.device) -> Optimisation:
    return Optimisation(
        schedule=Schedule(
            peak=optimiser.learning_rate,
            total=steps,
            warm_up=int(optimiser.warm_up * steps),
            decay=optimiser.decay,
            floor=optimiser.floor,
        ),
        seed=seed,
        weight_decay=optimiser.weight_decay,
        clip_norm=optimiser.clip_norm,
        bf16=optimiser.bf16 and has_bfloat16(device),
    )
