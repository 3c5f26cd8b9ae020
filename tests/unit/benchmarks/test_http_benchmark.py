"""The HTTP benchmark's first trial on a tiny shape: `glossa serve`, the generator and the engine as processes."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.figures import Absolute, Ratio
from benchmarks.http import KEYS, measure
from benchmarks.servers.glossa import serving
from benchmarks.shapes import XLM_R_BASE
from benchmarks.trials import Sizes

TINY = replace(
    XLM_R_BASE, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, vocab_size=300, max_positions=140
)


@pytest.mark.slow
def test_the_server_and_the_engine_answer_the_same_texts() -> None:
    sizes = Sizes(shape=TINY, dtype="float32", threads=1, rounds=5, requests=20, languages=2, tasks=3)
    figures = measure(sizes, ["http_over_engine"])
    ratio = figures["http_over_engine"]
    assert isinstance(ratio, Ratio)
    assert all(served > 0 and alone > 0 for served, alone in ratio.samples)
    inside, whole = figures["http_added_one_client_inside_p50_ms"], figures["http_added_one_client_p50_ms"]
    assert isinstance(inside, Absolute)
    assert isinstance(whole, Absolute)
    assert 0 < inside.value < whole.value
    assert not set(KEYS) & {"overload_goodput", "p99_under_cold_load"} & set(figures)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    variables = {"GLOSSA_HOME": str(tmp_path / "home"), "GLOSSA_BACKBONE": str(tmp_path / "nowhere")}
    with pytest.raises(RuntimeError, match="there is no folder"), serving(variables, tmp_path / "log"):
        pass
