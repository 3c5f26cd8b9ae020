"""The loop: schedules, the purity of data order, and exact resumption."""

import math
from itertools import islice

import pytest
import torch
from torch import nn

from trainer.errors import Diverged
from trainer.loop import BatchLoss, Decay, Optimisation, Schedule, Step, new_optimizer, train_steps
from trainer.objectives.tagging import LengthOrder
from trainer.seeds import ShuffledOrder, generator_of, seed_of


def settings(total: int = 12, peak: float = 0.05, *, bf16: bool = False) -> Optimisation:
    return Optimisation(schedule=Schedule(peak=peak, total=total, warm_up=3), seed=5, weight_decay=0.01, bf16=bf16)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)).train()


def batch_at(number: int) -> torch.Tensor:
    return torch.randn(4, 6, generator=generator_of(5, "batch", number))


def loss_by(model: nn.Module, batch: torch.Tensor) -> BatchLoss:
    return BatchLoss(loss=(model(batch) - 1).square().mean(), tokens=len(batch))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def run(model: nn.Module, optimizer: torch.optim.AdamW, *, done: int = 0, count: int | None = None) -> list[Step]:
    steps = train_steps(optimizer, lambda batch: loss_by(model, batch), batch_at, settings(), done=done)
    return list(islice(steps, count))


def test_steps_are_numbered_and_the_loss_falls() -> None:
    model = network()
    steps = run(model, new_optimizer(model.parameters(), settings()))
    assert [step.number for step in steps] == list(range(1, 13))
    assert {step.total for step in steps} == {12}
    assert steps[-1].loss < 0.6 * steps[0].loss


def test_going_on_from_a_step_gives_the_same_weights_bit_for_bit() -> None:
    whole, broken = network(), network()
    run(whole, new_optimizer(whole.parameters(), settings()))
    optimizer = new_optimizer(broken.parameters(), settings())
    assert [step.number for step in run(broken, optimizer, count=5)] == [1, 2, 3, 4, 5]
    torch.rand(100)  # what happens between two processes must not matter
    assert [step.number for step in run(broken, optimizer, done=5)] == list(range(6, 13))
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(broken).items())


def test_another_seed_gives_other_dropout() -> None:
    model = network()
    batch = batch_at(1)
    torch.manual_seed(seed_of(5, "step", 1))
    first = model(batch)
    torch.manual_seed(seed_of(6, "step", 1))
    assert not torch.equal(first, model(batch))


def test_a_loss_that_is_not_finite_ends_the_run_before_the_weights_change() -> None:
    model = network()
    optimizer = new_optimizer(model.parameters(), settings())
    before = weights(model)

    def broken(batch: torch.Tensor) -> BatchLoss:
        return BatchLoss(loss=model(batch).mean() * math.inf, tokens=1)

    with pytest.raises(Diverged, match="step 1 is"):
        next(train_steps(optimizer, broken, batch_at, settings()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(model).items())


def test_bf16_keeps_weights_in_float32() -> None:
    model = network()
    found: list[torch.dtype] = []

    def watched(batch: torch.Tensor) -> BatchLoss:
        output = model(batch)
        found.append(output.dtype)
        return BatchLoss(loss=output.float().square().mean(), tokens=1)

    next(train_steps(new_optimizer(model.parameters(), settings()), watched, batch_at, settings(bf16=True)))
    assert found == [torch.bfloat16]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls(decay: Decay) -> None:
    schedule = Schedule(peak=1.0, total=10, warm_up=4, decay=decay)
    rates = [schedule.rate(step) for step in range(1, 11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.3


def test_constant_rates_and_floors() -> None:
    assert Schedule(peak=2.0, total=5, decay="constant").rate(5) == 2.0
    assert Schedule(peak=1.0, total=1000, decay="cosine", floor=0.1).rate(1000) == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("wrong", [{"peak": 0.0}, {"total": 0}, {"warm_up": 11}])
def test_a_senseless_schedule_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no such schedule"):
        Schedule(**({"peak": 1.0, "total": 10} | wrong))  # type: ignore[arg-type]


def test_weight_decay_spares_vectors() -> None:
    groups = new_optimizer(network().parameters(), settings()).param_groups
    assert {group["weight_decay"]: {parameter.dim() for parameter in group["params"]} for group in groups} == {
        0.01: {2},
        0.0: {1},
    }


def test_data_order_depends_on_seed_and_step_alone() -> None:
    def order() -> ShuffledOrder:
        return ShuffledOrder(size=7, batch=3, seed=1)

    forwards = order()
    batches = [forwards.at(step) for step in range(1, 15)]
    backwards = order()
    assert [backwards.at(step) for step in range(14, 0, -1)] == batches[::-1]
    flat = [item for batch in batches for item in batch]
    assert sorted(flat[:7]) == sorted(flat[7:14]) == list(range(7))
    assert flat[:7] != flat[7:14]
    assert ShuffledOrder(size=7, batch=3, seed=2).at(1) != batches[0] or flat[:6] != batches[1]


def test_tagging_order_covers_each_epoch_and_is_pure() -> None:
    lengths = [3, 9, 4, 4, 12, 5, 3, 8, 2, 2, 7]
    forwards = LengthOrder(lengths=lengths, batch=4, seed=1)
    assert forwards.steps_per_epoch == 3
    batches = [forwards.at(step) for step in range(1, 7)]
    assert sorted(row for batch in batches[:3] for row in batch) == list(range(11))
    assert sorted(row for batch in batches[3:] for row in batch) == list(range(11))
    assert LengthOrder(lengths=lengths, batch=4, seed=1).at(5) == batches[4]


def test_seeds_differ_by_purpose_and_number() -> None:
    seeds = {seed_of(seed, purpose, number) for seed in (1, 2) for purpose in ("a", "b") for number in (0, 1)}
    assert len(seeds) == 8
    assert seed_of(1, "a", 0) == seed_of(1, "a", 0)
