"""Ten thousand stacks against ten, on a tiny shape: same tokens, both through the engine, one with little room."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

from benchmarks.checkpoints import write_checkpoint
from benchmarks.figures import Absolute, Ratio
from benchmarks.shapes import XLM_R_BASE
from benchmarks.stacks import ManyStacks, many_stacks
from benchmarks.traffic import asks
from benchmarks.world import language_codes

TINY = replace(
    XLM_R_BASE, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, vocab_size=300, max_positions=40
)


def contest() -> ManyStacks:
    return ManyStacks(
        shape=TINY,
        device="cpu",
        dtype="float32",
        languages=12,
        tasks=8,
        few=3,
        rounds=5,
        tokens=300,
        batch_tokens=128,
        seed=3,
    )


def test_many_stacks_run_beside_few(tmp_path: Path) -> None:
    backbone = write_checkpoint(tmp_path / "backbone", TINY, seed=1)
    figures = many_stacks(contest(), tmp_path / "home", backbone)
    for key in ("stacks_10000_over_10", "stacks_10000_tenth_over_10"):
        figure = figures[key]
        assert isinstance(figure, Ratio)
        assert len(figure.samples) == 5
        assert all(many > 0 and few > 0 for many, few in figure.samples)
    resident = figures["stacks_10000_resident"]
    assert isinstance(resident, Absolute)
    assert resident.value > 0
    loads = figures["stacks_10000_tenth_loads"]
    assert isinstance(loads, Absolute)
    assert loads.value > 1  # the adapters of the side with little room came and went


def test_there_are_a_hundred_languages() -> None:
    codes = language_codes(100)
    assert len(set(codes)) == 100
    assert {"de", "en", "fr"} <= set(codes)


def test_few_and_many_draw_the_same_tokens() -> None:
    streams = [asks(vocab_size=300, languages=n, tasks=m, seed=3) for n, m in ((100, 100), (10, 1))]
    many, few = (list(islice(stream, 600)) for stream in streams)
    assert [ask.ids for ask in many] == [ask.ids for ask in few]
    assert [ask.language for ask in many] != [ask.language for ask in few]
