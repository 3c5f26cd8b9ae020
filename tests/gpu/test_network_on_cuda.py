"""The network on CUDA against the network on the CPU: the same rows, the same stacks, the same labels."""

from collections.abc import Sequence
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
from madx.precision import BFLOAT16, FLOAT16, FLOAT32, Precision
from tests.support.tiny import make_adapter, make_backbone
from trainer.loop import BatchLoss, Optimisation, Schedule, new_optimizer, train_steps
from trainer.methods.madx import train_language
from trainer.objectives import masked_lm

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))
TOLERANCE = {FLOAT32: 1e-5, BFLOAT16: 5e-2, FLOAT16: 5e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


def adapters_of(config: BackboneConfig) -> list[Adapter]:
    languages = [make_adapter(config, language_config(invertible=i % 2 == 0), seed=i) for i in range(4)]
    tasks = [make_adapter(config, task_config(reduction=4), head=TAGS, seed=10 + i) for i in range(2)]
    return languages + tasks


def filled(bank: Bank, adapters: list[Adapter]) -> list[Slot]:
    return [bank.add(bank.stage(adapter)) for adapter in adapters]


def rows_of(
    slots: list[Slot], vocabulary: int, *, rows_in_all: int = 32, longest: int = 100, seed: int = 5
) -> list[Row]:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for index in range(rows_in_all):
        length = int(torch.randint(1, longest, (1,), generator=generator))
        ids = tuple(torch.randint(5, vocabulary - 1, (length,), generator=generator).tolist())
        stack = RowStack(language=[*slots[:4], IDENTITY][index % 5], task=[*slots[4:], IDENTITY][index % 3])
        rows.append(Row(input_ids=ids, positions=tuple(range(length)), stack=stack))
    return rows


def assert_close(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.cpu() - other.cpu()).abs().max() <= tolerance * max(1.0, other.abs().max().item())


@pytest.mark.parametrize("grouped", [False, True], ids=["segments", "grouped"])
@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16, FLOAT16], ids=lambda precision: precision.name)
def test_a_mixed_batch_equals_the_cpu(
    folder: Path, device: torch.device, precision: Precision, *, grouped: bool
) -> None:
    on_cpu = load_backbone(folder)
    on_cuda = load_backbone(folder, device=device, dtype=precision.activations)
    assert has_varlen_kernel(device, precision.activations, 8) == (precision is not FLOAT32)
    given = adapters_of(on_cpu.config)
    plain = Bank(on_cpu.config)
    expected = infer(on_cpu.backbone, plain, rows_of(filled(plain, given), on_cpu.config.vocab_size))
    bank = Bank(on_cpu.config, device=device, precision=precision, grouped=grouped)
    found = infer(on_cuda.backbone, bank, rows_of(filled(bank, given), on_cpu.config.vocab_size))
    assert_close(found, expected, TOLERANCE[precision])


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
