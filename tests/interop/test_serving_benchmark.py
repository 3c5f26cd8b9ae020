"""The serving benchmark's sides on a tiny shape: they compute the same, and every figure comes out of rounds."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.checkpoints import write_checkpoint
from benchmarks.comparing import hold_equal, hold_padded
from benchmarks.figures import Ratio
from benchmarks.peers import padded
from benchmarks.peers.mixed import Mixed, running_mixed
from benchmarks.peers.padded import Padded, load_padded, pad
from benchmarks.rounds import race
from benchmarks.served import Served, bare, open_served, random_adapters
from benchmarks.serving import Setting, measure
from benchmarks.shapes import XLM_R_BASE
from benchmarks.traffic import Ask, asks, take, tokens_of
from madx.precision import has_int8

TINY = replace(
    XLM_R_BASE, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, vocab_size=300, max_positions=40
)
LANGUAGES, TASKS = 3, 4
ADAPTERS = random_adapters(TINY, languages=LANGUAGES, tasks=TASKS)
SETTING = Setting(
    shape=TINY,
    threads=1,
    rounds=5,
    tokens=1024,
    languages=LANGUAGES,
    own_tasks=16,
    mixed_tasks=TASKS,
    peer_python=sys.executable,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("serving") / "backbone", TINY, seed=3)


@pytest.fixture(scope="module")
def served(folder: Path) -> Served:
    return open_served(folder, ADAPTERS, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def peer(folder: Path) -> Iterator[Mixed]:
    with running_mixed(
        sys.executable, backbone=folder, adapters=ADAPTERS, shape=TINY, threads=1, device="cpu"
    ) as running:
        yield running


def rows(tokens: int = 400, *, seed: int = 1) -> list[Ask]:
    stream = asks(vocab_size=TINY.vocab_size, languages=LANGUAGES, tasks=TASKS, seed=seed, most_tokens=TINY.max_tokens)
    return take(stream, tokens)


def test_the_peer_answers_as_we_do_whichever_way_it_goes(served: Served, peer: Mixed) -> None:
    sample = rows()
    assert len({(ask.language, ask.task) for ask in sample}) > 5
    expected = served.logits(sample, served.asked)
    for per in ("stack", "language"):
        for at_once in (4, 64):
            peer.go(per=per, rows_at_once=at_once)
            hold_equal(per, expected, peer.logits(sample))


def test_another_stack_is_noticed(served: Served, peer: Mixed) -> None:
    sample = rows()
    with pytest.raises(SystemExit, match=r"logits differ|labels differ"):
        hold_equal("other", served.logits(sample, served.one_stack), peer.logits(sample))


def test_the_peer_runs_all_of_a_round(peer: Mixed) -> None:
    sample = rows()
    chosen = peer.choose(sample)
    assert chosen["per"] in ("stack", "language")
    assert len(chosen["tried"]) == 6
    steps = peer.steps(sample)
    assert sum(step.tokens for step in steps) == tokens_of(sample)
    assert race({"peer": peer}, sample)["peer"] > 0


def test_padding_hides_nothing_of_the_backbone(served: Served, folder: Path) -> None:
    hold_padded(served, Padded(model=load_padded(folder, device="cpu"), batch_rows=2), rows(300))


def test_another_backbone_is_noticed(folder: Path) -> None:
    other = Padded(model=load_padded(folder, device="cpu"), batch_rows=3)
    assert sum(step.tokens for step in other.steps(rows())) == tokens_of(rows())
    with torch.no_grad():
        other.model.roberta.embeddings.word_embeddings.weight[7:] *= 2.0
    with pytest.raises(SystemExit, match="logits differ"):
        hold_padded(open_served(folder, ADAPTERS, device="cpu", dtype="float32"), other, rows(100))


def test_padding_that_is_read_is_noticed(served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmasked(asked: list[list[int]], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = pad(asked, pad_id, device)
        return ids, torch.ones_like(mask)

    monkeypatch.setattr(padded, "pad", unmasked)
    with pytest.raises(SystemExit, match="logits differ"):
        hold_padded(served, Padded(model=load_padded(folder, device="cpu"), batch_rows=2), rows(300))


def test_bare_rows_have_no_logits(served: Served) -> None:
    assert [len(logits) for logits in served.logits(rows(60), bare)] == [0] * len(rows(60))


def test_every_figure_of_the_computing_contests_comes_out_of_rounds() -> None:
    keys = ("mixed_over_single", "stack_over_bare", "bare_over_transformers", "over_adapterhub_fp32")
    figures = measure(SETTING, keys)
    int8 = ("over_adapterhub_int8",) if has_int8(torch.device("cpu")) else ()
    for key in (*keys, "over_adapterhub_auto", *int8):
        figure = figures[key]
        assert isinstance(figure, Ratio)
        assert len(figure.samples) == 5
    assert {"mixed_batch", "single_batch", "bare_batch", "transformers_batch", "adapterhub_forward"} <= set(figures)
    assert "label_agreement_auto" not in figures
    assert json.dumps({key: figure.as_json() for key, figure in figures.items()})
