"""The training loop: a generator of `Step` without I/O; the caller saves, evaluates, reports, and cancels by `break`.

A step is a pure function of weights, moments, seed and step number (batch, masks and dropout included), so a run that
is resumed from a checkpoint goes on exactly as it would have.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from .errors import Diverged
from .seeds import seed_of

Batch = TypeVar("Batch")
Decay = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Learning rate by step: linear warm-up to `peak`, then decay towards `floor` times the peak at `total` steps."""

    peak: float
    total: int
    warm_up: int = 0
    decay: Decay = "linear"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.peak <= 0 or self.total < 1 or not 0 <= self.warm_up <= self.total:
            raise ValueError(f"no such schedule: {self}")

    def rate(self, step: int) -> float:
        """The rate of step `step`, counted from 1."""
        if step <= self.warm_up:
            return self.peak * step / self.warm_up
        if self.decay == "constant":
            return self.peak
        # The last step still moves: it stands one step before the floor.
        done = (step - 1 - self.warm_up) / max(1, self.total - self.warm_up)
        share = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.peak * (self.floor + (1 - self.floor) * share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """AdamW and what surrounds it. `bf16` runs the loss under autocast; weights and moments stay float32."""

    schedule: Schedule
    seed: int
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip_norm: float | None = 1.0
    bf16: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLoss:
    """A scalar to minimise and the number of tokens that the encoder read for it."""

    loss: torch.Tensor
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One finished step. `number` counts from 1; `seconds` is this step's own time."""

    number: int
    total: int
    loss: float
    tokens: int
    learning_rate: float
    seconds: float


def new_optimizer(parameters: Iterable[torch.nn.Parameter], settings: Optimisation) -> torch.optim.AdamW:
    """AdamW over float32 parameters on one device. Weight decay spares biases and norms."""
    trained = list(parameters)
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    vectors = [parameter for parameter in trained if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.schedule.peak,
        betas=settings.betas,
        eps=settings.epsilon,
        fused=True,
    )


def train_steps(
    optimizer: torch.optim.AdamW,
    loss_of: Callable[[Batch], BatchLoss],
    batch_at: Callable[[int], Batch],
    settings: Optimisation,
    *,
    done: int = 0,
) -> Iterator[Step]:
    """Yield after every step from `done + 1` to the schedule's total. `batch_at` may depend on the step number alone.

    Seeds torch's global generator before each step, because dropout takes no other. Raises `Diverged`.
    """
    total = settings.schedule.total
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number in range(done + 1, total + 1):
        started = time.perf_counter()
        torch.manual_seed(seed_of(settings.seed, "step", number))
        rate = settings.schedule.rate(number)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = batch_at(number)
        with torch.autocast(parameters[0].device.type, dtype=torch.bfloat16, enabled=settings.bf16):
            measured = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(measured.loss)
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        loss = measured.loss.item()
        if not math.isfinite(loss):
            raise Diverged(f"the loss of step {number} is {loss}; lower the learning rate (it was {rate:.2g})")
        optimizer.step()
        yield Step(
            number=number,
            total=total,
            loss=loss,
            tokens=measured.tokens,
            learning_rate=rate,
            seconds=time.perf_counter() - started,
        )
