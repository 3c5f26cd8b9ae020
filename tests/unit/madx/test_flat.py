"""Tensors in one buffer: what `Bank.stage` copies to a CUDA device at once."""

import torch

from madx.config import HeadConfig, task_config
from madx.flat import buffer_of, flatten, views_like
from tests.support.network import CONFIG
from tests.support.tiny import make_adapter


def test_an_adapter_in_one_buffer_is_the_adapter_and_so_is_a_copy_of_the_buffer() -> None:
    state = make_adapter(CONFIG, task_config(reduction=5), head=HeadConfig(type="masked_lm"), seed=1).state_dict()
    halves = {name: torch.float32 if name.startswith("head.") else torch.bfloat16 for name in state}
    views = flatten(state, halves, page_locked=False)
    buffer = buffer_of(views)
    assert buffer is not None
    assert all(view.data_ptr() % 16 == buffer.data_ptr() % 16 for view in views.values())
    copied = views_like(views, buffer.clone())
    views["head.bias"].zero_()
    for name, tensor in state.items():
        assert copied[name].dtype == halves[name]
        assert torch.equal(copied[name], tensor.to(halves[name]))


def test_tensors_that_lie_apart_or_beside_others_have_no_buffer() -> None:
    many = torch.zeros(64)
    assert buffer_of({"a": many[:4], "b": torch.zeros(4)}) is None
    assert buffer_of({"a": many[:4], "b": many[4:8]}) is None
    assert buffer_of({}) is None
