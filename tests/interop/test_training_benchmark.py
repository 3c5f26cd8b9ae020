"""The training benchmark's two sides on a tiny shape: same adapter, both train, rounds interleave."""

import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.shapes import XLM_R_BASE
from benchmarks.training import Ours, Setting, measure, start_peer

TINY = replace(
    XLM_R_BASE, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, vocab_size=300, max_positions=40
)
SETTING = Setting(shape=TINY, rows=2, length=16, threads=1)


def test_rounds_of_both_sides() -> None:
    ratio = measure(SETTING, sys.executable, rounds=5, steps=2)
    assert len(ratio.samples) == 5
    assert all(ours > 0 and theirs > 0 for ours, theirs in ratio.samples)


def test_the_peer_learns_from_what_it_reads() -> None:
    with start_peer(sys.executable, SETTING) as peer:
        first = peer.train(1)["loss"]
        assert first == pytest.approx(torch.log(torch.tensor(300.0)).item(), abs=1.0)
        assert peer.train(1)["loss"] != first


def test_our_side_trains_the_adapter() -> None:
    ours = Ours(SETTING)
    before = {name: tensor.clone() for name, tensor in ours.adapter.state_dict().items()}
    ours.round(2)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in ours.adapter.state_dict().items())
