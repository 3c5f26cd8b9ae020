"""What the speed benchmarks compute with: arithmetic, adapter sizes, a checkpoint whose texts have known lengths."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.checkpoints import text_of, tokenizer_of, write_checkpoint
from benchmarks.shapes import HEAD, LANGUAGE, TASK, XLM_R_BASE, arithmetic, random_adapter
from madx.loading import load_backbone
from madx.shapes import adapter_shapes

TINY = replace(
    XLM_R_BASE, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, vocab_size=9_000, max_positions=40
)


def test_the_arithmetic_of_xlm_r_base() -> None:
    found = arithmetic(XLM_R_BASE, length=128)
    assert found.backbone == 84_934_656
    assert found.attention == 18_432 * 128
    assert found.language == 7_077_888
    assert found.task == 884_736
    assert found.invertible == 294_912
    assert found.full_stack / (found.backbone + found.attention) == pytest.approx(1.0946, abs=1e-4)


def test_adapters_have_the_published_sizes() -> None:
    def count(shapes: dict[str, tuple[int, ...]]) -> int:
        return sum(torch.Size(shape).numel() for shape in shapes.values())

    assert count(adapter_shapes(LANGUAGE, None, XLM_R_BASE)) == 7_387_776
    assert count(adapter_shapes(TASK, None, XLM_R_BASE)) == 894_528
    assert len(HEAD.labels) == 9


def test_a_seed_names_an_adapter() -> None:
    one, same, other = (random_adapter(TINY, TASK, HEAD, seed=seed) for seed in (1, 1, 2))
    weights = [adapter.state_dict()["layers.0.output.up.weight"] for adapter in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_checkpoint_is_of_that_shape_and_loads(tmp_path: Path) -> None:
    loaded = load_backbone(write_checkpoint(tmp_path / "backbone", TINY, seed=1))
    assert loaded.config == TINY
    assert loaded.tokenizer.vocab_size == TINY.vocab_size
    assert float(loaded.backbone.word_embedding.std()) == pytest.approx(0.02, rel=0.02)


def test_texts_have_the_tokens_that_were_asked_for() -> None:
    tokenizer = tokenizer_of(TINY)
    draw = random.Random(3)
    for tokens in (3, 17, 128):
        ids = tokenizer.row(tokenizer.encode(text_of(tokens, TINY.vocab_size, draw)))
        assert len(ids) == tokens
        assert len(set(ids)) == pytest.approx(tokens, abs=3)
        assert tokenizer.ids.unknown not in ids
