"""A backbone of three small layers at random weights, and rows of any stacks for it."""

import torch

from madx.backbone import Backbone
from madx.config import BackboneConfig
from madx.forward import Row
from madx.plan import RowStack

CONFIG = BackboneConfig(
    family="xlm-roberta",
    hidden_size=32,
    num_layers=3,
    num_heads=4,
    intermediate_size=64,
    vocab_size=300,
    max_positions=130,
    type_vocab_size=1,
    position_offset=2,
    pad_token_id=1,
    layer_norm_eps=1e-5,
    activation="gelu",
)


def make_network(config: BackboneConfig = CONFIG, *, std: float = 0.3) -> Backbone:
    torch.manual_seed(3)
    made = Backbone(config).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.normal_(std=std)
    return made


def make_rows(
    lengths: list[int], stacks: list[RowStack], *, seed: int = 5, vocab_size: int = CONFIG.vocab_size
) -> list[Row]:
    """One row of random tokens for each length; stacks are dealt out in turn; every token is read."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for index, length in enumerate(lengths):
        ids = tuple(torch.randint(5, vocab_size, (length,), generator=generator).tolist())
        rows.append(Row(input_ids=ids, positions=tuple(range(length)), stack=stacks[index % len(stacks)]))
    return rows
