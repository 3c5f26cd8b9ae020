"""Prepacked layers against plain ones, in each precision; int8 rows that do not depend on their neighbours; lanes."""

from functools import partial

import pytest
import torch

from madx import linear as linear_module
from madx import precision as precision_module
from madx.backbone import Backbone
from madx.bank import Bank
from madx.config import Activation, HeadConfig, language_config, task_config
from madx.errors import InvalidConfig
from madx.forward import Row, infer
from madx.lanes import Lanes
from madx.linear import Int8Linear, Linear, PrepackedLinear, prepack, quantise_tokens
from madx.plan import IDENTITY, RowStack
from madx.precision import (
    BFLOAT16,
    FLOAT32,
    Precision,
    choose_precision,
    has_bfloat16,
    has_int8,
    has_prepacked_layers,
)
from madx.rounding import infer_rounded
from tests.support.network import CONFIG, make_network, make_rows
from tests.support.tiny import make_adapter

CPU = torch.device("cpu")
TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))
LENGTHS = [3, 40, 17, 8, 64, 1, 25, 25, 9, 33]
ACTIVATIONS: tuple[Activation | None, ...] = (None, "relu", "gelu", "gelu_new", "silu", "tanh")

needs_int8 = pytest.mark.skipif(not has_int8(CPU), reason="this processor has no integer dot products")
prepackable = [dtype for dtype in (torch.float32, torch.bfloat16) if has_prepacked_layers(dtype)]


def drift(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return ((found.float() - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture
def linear() -> Linear:
    torch.manual_seed(1)
    return Linear(48, 80).requires_grad_(False)


@pytest.mark.parametrize("dtype", prepackable, ids=str)
@pytest.mark.parametrize("then", ACTIVATIONS)
@pytest.mark.parametrize("has_avx512", [True, False])
def test_a_prepacked_layer_is_the_layer(
    linear: Linear, then: Activation | None, dtype: torch.dtype, has_avx512: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_module, "has_avx512", lambda: has_avx512)
    x, residual = torch.randn(7, 48), torch.randn(7, 80)
    layer, allowed = PrepackedLinear(linear, dtype), {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    assert drift(layer(x, then), linear(x, then)) < allowed
    assert drift(layer.added_to(residual.to(dtype), x), residual + linear(x)) < allowed


@needs_int8
@pytest.mark.parametrize("then", ACTIVATIONS)
def test_an_int8_layer_is_the_layer_to_eight_bits(linear: Linear, then: Activation | None) -> None:
    x = torch.randn(7, 48)
    assert drift(Int8Linear(linear)(x, then), linear(x, then)) < 2e-2


@needs_int8
def test_an_int8_layer_treats_each_token_by_itself(linear: Linear) -> None:
    """A scale over all tokens would let the large one crush the small one."""
    x = torch.randn(2, 48) * torch.tensor([[1e-3], [1e3]])
    layer = Int8Linear(linear)
    alone = torch.cat([layer(row[None]) for row in x])
    assert torch.equal(layer(x), alone)
    assert torch.equal(layer(torch.zeros(1, 48)), linear.bias[None])


def test_quantised_tokens_lie_within_half_a_step() -> None:
    x = torch.randn(5, 33) * torch.logspace(-6, 6, 5)[:, None]
    quantised, scale = quantise_tokens(x)
    assert ((quantised.float() - 128) * scale - x).abs().le(scale * 0.5001).all()
    assert quantised.min() >= 1


def stacks_of(bank: Bank) -> list[RowStack]:
    languages = [bank.add(bank.stage(make_adapter(CONFIG, language_config(), seed=i))) for i in range(3)]
    tasks = [
        bank.add(bank.stage(make_adapter(CONFIG, task_config(reduction=4), head=TAGS, seed=10 + i))) for i in range(4)
    ]
    pairs = [RowStack(language=[*languages, IDENTITY][i % 4], task=[*tasks, IDENTITY][(i // 2) % 5]) for i in range(20)]
    return [*pairs, RowStack(language=languages[1], task=tasks[0], leave_out=(2,))]


def served(precision: Precision) -> tuple[Backbone, Bank, list[Row]]:
    backbone = make_network(std=0.1).to(precision.activations)
    prepack(backbone, precision.weights)
    bank = Bank(CONFIG, precision=precision)
    stacks = stacks_of(bank)
    return backbone, bank, make_rows([*LENGTHS, *LENGTHS, 11], stacks)


def precisions() -> list[Precision]:
    found = [FLOAT32, choose_precision("bfloat16", CPU)]
    return [*found, choose_precision("int8", CPU)] if has_int8(CPU) else found


@pytest.mark.parametrize("precision", precisions(), ids=lambda precision: precision.name)
def test_a_prepacked_stack_stays_near_the_plain_float32_stack(precision: Precision) -> None:
    plain = make_network(std=0.1)
    bank = Bank(CONFIG, stacked=True)
    rows = make_rows([*LENGTHS, *LENGTHS, 11], stacks_of(bank))
    expected = infer(plain, bank, rows)
    allowed = {"float32": 1e-5, "bfloat16": 3e-2, "int8": 6e-2}[precision.name]
    backbone, packed, rows = served(precision)
    for found, wanted in zip(infer(backbone, packed, rows), expected, strict=True):
        assert found.dtype == torch.float32
        assert drift(found, wanted) < allowed


@pytest.mark.parametrize("precision", precisions(), ids=lambda precision: precision.name)
def test_a_mixed_row_equals_itself_alone(precision: Precision) -> None:
    backbone, bank, rows = served(precision)
    allowed = {"float32": 1e-5, "bfloat16": 1e-2, "int8": 1e-2}[precision.name]
    together = infer(backbone, bank, rows)
    for row, found in zip(rows, together, strict=True):
        assert drift(found, infer(backbone, bank, [row])[0]) < allowed


def test_batches_side_by_side_answer_as_one_after_the_other() -> None:
    """Lanes share the backbone and the bank."""
    backbone, bank, rows = served(FLOAT32)
    lanes = Lanes(3)
    batches = [rows[start::5] for start in range(5)] * 4
    found = [lanes.submit(partial(infer_rounded, backbone, bank, batch)) for batch in batches]
    for batch, future in zip(batches, found, strict=True):
        expected = infer(backbone, bank, batch)
        assert all(drift(a, b) < 1e-5 for a, b in zip(future.result(60), expected, strict=True))


def test_auto_takes_halves_only_where_the_processor_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = torch.cpu.get_capabilities()
    assert choose_precision("auto", CPU).name == ("bfloat16" if has_bfloat16(CPU) else "float32")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**found, "avx512_bf16": False, "amx_bf16": False})
    assert choose_precision("auto", CPU) == FLOAT32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**found, "avx512_bf16": True})
    monkeypatch.setattr(precision_module, "has_prepacked_layers", lambda *_: True)
    assert choose_precision("auto", CPU).weights == torch.bfloat16


def test_halves_that_cannot_be_prepacked_flow_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without AVX-512: asked for, bfloat16 is what one gets, slow as it is there."""
    monkeypatch.setattr(precision_module, "has_prepacked_layers", lambda dtype=torch.float32: dtype != torch.bfloat16)
    assert choose_precision("bfloat16", CPU) == BFLOAT16
    assert choose_precision("auto", CPU) == FLOAT32


def test_int8_is_refused_without_integer_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(InvalidConfig, match="int8"):
        choose_precision("int8", CPU)
