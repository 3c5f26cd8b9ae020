"""The stack's arithmetic against the equations written out, and a mixed batch against each row alone."""

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.shapes import XLM_R_BASE
from madx.adapter import Adapter
from madx.backbone import Backbone
from madx.bank import Bank
from madx.config import AdapterConfig, HeadConfig, language_config, task_config
from madx.errors import NoMaskedLMHead
from madx.forward import Row, hidden_states, infer
from madx.plan import IDENTITY, RowStack, Segment, Slot, plan_rows
from madx.shapes import adapter_shapes
from madx.stack import adapt
from tests.support.network import CONFIG, make_network
from tests.support.tiny import make_adapter

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item()))


@pytest.fixture
def backbone(device: torch.device) -> Backbone:
    return make_network().to(device)


def count(config: AdapterConfig) -> int:
    return sum(math.prod(shape) for shape in adapter_shapes(config, None, XLM_R_BASE).values())


def test_published_sizes_on_xlm_r_base() -> None:
    assert count(language_config()) == 7_387_776
    assert count(language_config(invertible=False)) == 7_387_776 - 296_064
    assert count(task_config()) == 894_528
    assert count(task_config(leave_out=(11,))) == 819_984


def test_shapes_are_those_of_the_module() -> None:
    for config, head in (
        (language_config(leave_out=(1,)), HeadConfig(type="masked_lm")),
        (task_config(reduction=4), TAGS),
        (AdapterConfig(placement="houlsby", reduction=5), HeadConfig(type="tagging", labels=("O", "X"), layers=2)),
    ):
        state = Adapter(config, head, CONFIG).state_dict()
        assert {name: tuple(tensor.shape) for name, tensor in state.items()} == adapter_shapes(config, head, CONFIG)


@pytest.mark.parametrize("form", ["adapterhub", "paper"])
@pytest.mark.parametrize("language_acts", [True, False])
def test_adapt_follows_the_equations(device: torch.device, form: str, language_acts: bool) -> None:
    torch.manual_seed(0)
    f, a = torch.randn(5, 32).to(device), torch.randn(5, 32).to(device)
    norm = torch.nn.LayerNorm(32, device=device)
    torch.nn.init.normal_(norm.weight)
    language = make_adapter(CONFIG, language_config(leave_out=() if language_acts else (1,)), seed=1).to(device)
    task = make_adapter(CONFIG, task_config(reduction=4, form="paper" if form == "paper" else "adapterhub"), seed=2)
    task.to(device)
    plan = plan_rows([5], [RowStack(language=Slot(1), task=Slot(2))])
    out = adapt(f, a, norm, plan=plan, adapters={Slot(1): language, Slot(2): task}, layer=1, site="output")

    def bottleneck(adapter: Adapter, x: torch.Tensor) -> torch.Tensor:
        state = adapter.state_dict()
        down = x @ state["layers.1.output.down.weight"].T + state["layers.1.output.down.bias"]
        up: torch.Tensor = torch.relu(down) @ state["layers.1.output.up.weight"].T + state["layers.1.output.up.bias"]
        return up

    h = norm(f + a)
    if language_acts:
        la = bottleneck(language, h) + f
        ta = bottleneck(task, la) + f if form == "paper" else bottleneck(task, norm(la + a)) + la
    else:
        ta = bottleneck(task, h) + f
    assert close(out, norm(ta + a))


def test_the_inverse_inverts() -> None:
    for width in (32, 33):
        config = replace(CONFIG, hidden_size=width, num_heads=1)
        invertible = make_adapter(config, language_config(), seed=4).invertible
        assert invertible is not None
        e = torch.randn(40, width)
        assert not close(invertible(e), e)
        assert close(invertible.inverse(invertible(e)), e)


def test_a_mixed_batch_equals_each_row_alone(backbone: Backbone) -> None:
    bank = Bank(CONFIG, device=backbone.device)
    languages = [
        bank.add(
            bank.stage(
                make_adapter(CONFIG, language_config(invertible=i % 2 == 0, leave_out=(2,) if i == 3 else ()), seed=i)
            )
        )
        for i in range(8)
    ]
    forms = (task_config(reduction=4), task_config(reduction=4, form="paper"), task_config(reduction=8, leave_out=(2,)))
    tasks = [
        bank.add(bank.stage(make_adapter(CONFIG, config, head=TAGS, seed=20 + i))) for i, config in enumerate(forms)
    ]
    generator = torch.Generator().manual_seed(5)
    rows = []
    for index in range(64):
        length = int(torch.randint(1, 100, (1,), generator=generator))
        stack = RowStack(
            language=[*languages, IDENTITY][index % 9],
            task=[*tasks, IDENTITY][index % 4],
            leave_out=(1,) if index % 5 == 0 else (),
        )
        ids = tuple(torch.randint(5, 300, (length,), generator=generator).tolist())
        rows.append(Row(input_ids=ids, positions=tuple(range(0, length, 3)), stack=stack))
    mixed = infer(backbone, bank, rows)
    for row, found in zip(rows, mixed, strict=True):
        alone = infer(backbone, bank, [row])[0]
        assert close(found, alone)
        assert torch.equal(found.argmax(-1), alone.argmax(-1))


def test_leaving_layers_out_at_request_time_is_leaving_them_out_of_the_adapter(backbone: Backbone) -> None:
    whole = make_adapter(CONFIG, language_config(), seed=6).to(backbone.device)
    cut = Adapter(language_config(leave_out=(2,)), None, CONFIG).to(backbone.device)
    cut.load_state_dict({name: t for name, t in whole.state_dict().items() if not name.startswith("layers.2.")})
    rows = [[5, 6, 7, 8]]
    stacks = [RowStack(language=Slot(1), leave_out=(2,))], [RowStack(language=Slot(1))]
    requested, _ = hidden_states(backbone, {Slot(1): whole}, rows, stacks[0])
    configured, _ = hidden_states(backbone, {Slot(1): cut}, rows, stacks[1])
    full, _ = hidden_states(backbone, {Slot(1): whole}, rows, stacks[1])
    assert close(requested, configured)
    assert not close(requested, full)


def test_one_forward_trains_the_adapter_and_only_the_adapter(backbone: Backbone) -> None:
    language = make_adapter(CONFIG, language_config(), seed=7).to(backbone.device).requires_grad_(True)
    hidden, _ = hidden_states(backbone, {Slot(1): language}, [[5, 6, 7], [8, 9]], [RowStack(language=Slot(1))] * 2)
    hidden.square().sum().backward()
    gradients = [parameter.grad for parameter in language.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_a_row_without_task_needs_a_masked_lm_head() -> None:
    bare = Backbone(CONFIG, masked_lm=False).eval()
    with pytest.raises(NoMaskedLMHead, match="no masked-LM head"):
        infer(bare, {}, [Row(input_ids=(5, 6), positions=(0,))])
    own = make_adapter(CONFIG, language_config(), head=HeadConfig(type="masked_lm"), seed=3)
    row = Row(input_ids=(5, 6), positions=(0,), stack=RowStack(language=Slot(1)))
    assert infer(bare, {Slot(1): own}, [row])[0].shape == (1, 300)


def test_plan_groups_by_language_then_task_and_keeps_given_order_within() -> None:
    stacks = [
        RowStack(language=Slot(2), task=Slot(5)),
        RowStack(),
        RowStack(language=Slot(2), task=Slot(4)),
        RowStack(task=Slot(5)),
        RowStack(language=Slot(2), task=Slot(5), leave_out=(1,)),
    ]
    plan = plan_rows([3, 1, 2, 4, 5], stacks)
    assert plan.order == (1, 3, 2, 0, 4)
    assert plan.lengths == (1, 4, 2, 3, 5)
    assert plan.starts == (0, 1, 5, 7, 10)
    assert plan.num_tokens == 15
    assert plan.language == (
        Segment(start=0, stop=5, slot=IDENTITY),
        Segment(start=5, stop=10, slot=Slot(2)),
        Segment(start=10, stop=15, slot=Slot(2), leave_out=(1,)),
    )
    assert plan.task == (
        Segment(start=0, stop=1, slot=IDENTITY),
        Segment(start=1, stop=5, slot=Slot(5)),
        Segment(start=5, stop=7, slot=Slot(4)),
        Segment(start=7, stop=15, slot=Slot(5)),
    )
    assert plan.position_of() == [3, 0, 2, 1, 4]
    with pytest.raises(ValueError, match="at least one token"):
        plan_rows([0], [RowStack()])
