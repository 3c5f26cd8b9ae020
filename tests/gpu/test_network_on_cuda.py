"""The network on CUDA against the network on the CPU: the same rows, the same stacks, the same labels."""

from pathlib import Path

import pytest
import torch

from madx.adapter import Adapter
from madx.attention import has_varlen_kernel
from madx.bank import Bank
from madx.config import BackboneConfig, HeadConfig, language_config, task_config
from madx.forward import Row, infer
from madx.loading import load_backbone
from madx.plan import IDENTITY, RowStack, Slot
from madx.precision import BFLOAT16, FLOAT32, Precision
from madx.stack import Adapters
from tests.support.tiny import make_adapter, make_backbone
from trainer.loop import BatchLoss, Optimisation, Schedule, new_optimizer, train_steps
from trainer.methods.madx import train_language
from trainer.objectives import masked_lm

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))
TOLERANCE = {FLOAT32: 1e-5, BFLOAT16: 5e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


def adapters_of(config: BackboneConfig) -> list[Adapter]:
    languages = [make_adapter(config, language_config(invertible=i % 2 == 0), seed=i) for i in range(4)]
    tasks = [make_adapter(config, task_config(reduction=4), head=TAGS, seed=10 + i) for i in range(2)]
    return languages + tasks


def rows_of(slots: list[Slot], vocabulary: int) -> list[Row]:
    generator = torch.Generator().manual_seed(5)
    rows = []
    for index in range(32):
        length = int(torch.randint(1, 100, (1,), generator=generator))
        ids = tuple(torch.randint(5, vocabulary - 1, (length,), generator=generator).tolist())
        stack = RowStack(language=[*slots[:4], IDENTITY][index % 5], task=[*slots[4:], IDENTITY][index % 3])
        rows.append(Row(input_ids=ids, positions=tuple(range(length)), stack=stack))
    return rows


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16], ids=lambda precision: precision.name)
def test_a_mixed_batch_equals_the_cpu(folder: Path, device: torch.device, precision: Precision) -> None:
    on_cpu = load_backbone(folder)
    on_cuda = load_backbone(folder, device=device, dtype=precision.activations)
    assert has_varlen_kernel(device, precision.activations, 8) == (precision is BFLOAT16)
    given = adapters_of(on_cpu.config)
    banks: list[Adapters] = []
    slots: list[Slot] = []
    for bank in (Bank(on_cpu.config), Bank(on_cpu.config, device=device, precision=precision)):
        slots = [bank.add(bank.stage(adapter)) for adapter in given]
        banks.append(bank)
    rows = rows_of(slots, on_cpu.config.vocab_size)
    expected = infer(on_cpu.backbone, banks[0], rows)
    found = infer(on_cuda.backbone, banks[1], rows)
    for one, other in zip(expected, found, strict=True):
        assert (one - other.cpu()).abs().max() <= TOLERANCE[precision] * max(1.0, one.abs().max().item())


def test_a_language_adapter_trains_on_cuda(folder: Path, device: torch.device) -> None:
    loaded = load_backbone(folder, device=device)
    adapter = make_adapter(loaded.config, language_config(), seed=1).to(device).requires_grad_(True)
    trainee = train_language(adapter)
    masking = masked_lm.Masking.of(loaded.tokenizer)
    ids = torch.randint(5, loaded.config.vocab_size - 1, (4, 32), generator=torch.Generator().manual_seed(1))
    batch = masked_lm.mask(ids, torch.Generator().manual_seed(2), masking).to(device)
    settings = Optimisation(schedule=Schedule(peak=1e-2, total=20, warm_up=2), seed=1, bf16=True)

    def loss_of(one: masked_lm.MaskedBatch) -> BatchLoss:
        loss = masked_lm.loss(loaded.backbone, trainee.adapters, trainee.stack, one)
        return BatchLoss(loss=loss, tokens=ids.numel())

    optimizer = new_optimizer(adapter.parameters(), settings)
    losses = [step.loss for step in train_steps(optimizer, loss_of, lambda _: batch, settings)]
    assert losses[-1] < 0.8 * losses[0]
