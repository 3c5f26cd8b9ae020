"""The HTTP benchmark's trials on small shapes: `glossa serve`, the generator, the engine and the store as processes."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.figures import Absolute, Figure, Ratio
from benchmarks.http import KEYS, measure
from benchmarks.servers.glossa import serving
from benchmarks.shapes import XLM_R_BASE
from benchmarks.trials import Sizes

TINY = replace(
    XLM_R_BASE, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, vocab_size=300, max_positions=140
)
# So large that a request costs several times what HTTP does: five times the capacity can be offered.
SMALL = replace(
    XLM_R_BASE, hidden_size=256, num_layers=8, num_heads=4, intermediate_size=1024, vocab_size=300, max_positions=140
)
SIZES = Sizes(
    shape=SMALL,
    dtype="float32",
    threads=1,
    requests=24,
    seconds=1.0,
    samples=15,
    overload_s=8.0,
    least_overload=0.0,
    languages=2,
    tasks=3,
    queue_s=4.0,
)


def ratio(figures: dict[str, Figure], key: str) -> Ratio:
    figure = figures[key]
    assert isinstance(figure, Ratio)
    assert len(figure.samples) >= 5
    assert all(other > 0 for _, other in figure.samples)
    assert sum(one for one, _ in figure.samples) > 0
    return figure


def value(figures: dict[str, Figure], key: str) -> float:
    figure = figures[key]
    assert isinstance(figure, Absolute)
    return figure.value


@pytest.mark.slow
def test_the_server_and_the_engine_answer_the_same_texts() -> None:
    sizes = Sizes(shape=TINY, dtype="float32", threads=1, rounds=5, requests=20, languages=2, tasks=3)
    figures = measure(sizes, ["http_over_engine"])
    ratio(figures, "http_over_engine")
    inside, whole = (value(figures, f"http_added_one_client_{key}p50_ms") for key in ("inside_", ""))
    assert 0 < inside < whole
    assert not set(KEYS) & {"overload_goodput", "p99_under_cold_load"} & set(figures)


@pytest.mark.slow
def test_a_flood_is_refused_in_part_and_answered_in_part() -> None:
    figures = measure(SIZES, ["overload_goodput"])
    ratio(figures, "overload_goodput")
    assert value(figures, "reject_p99_ms") > 0
    assert value(figures, "overload_offered") > 0
    assert "overload_memory_growth_mib" in figures


@pytest.mark.slow
def test_a_modest_key_is_answered_beside_a_greedy_one() -> None:
    figures = measure(SIZES, ["victim_p99_ratio"])
    ratio(figures, "victim_p99_ratio")
    assert value(figures, "victim_p99_samples") >= SIZES.samples


@pytest.mark.slow
def test_warm_traffic_is_answered_while_cold_adapters_load_and_while_the_store_hangs() -> None:
    figures = measure(replace(SIZES, queue_s=None), ["p99_under_cold_load"])
    ratio(figures, "p99_under_cold_load")
    ratio(figures, "p99_under_hung_store")
    assert value(figures, "cold_loads_per_s") > 0
    assert value(figures, "p99_warm_samples") >= SIZES.samples


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    variables = {"GLOSSA_HOME": str(tmp_path / "home"), "GLOSSA_BACKBONE": str(tmp_path / "nowhere")}
    with pytest.raises(RuntimeError, match="there is no folder"), serving(variables, tmp_path / "log"):
        pass


def killed(variables: dict[str, str], log: Path) -> None:
    with serving(variables, log) as server:
        assert server.value("glossa_resident_adapters", tier="device") == 0
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def test_a_server_that_died_is_told_of_and_so_are_its_last_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"GLOSSA_HOME": str(tmp_path / "home")}
    with pytest.raises(RuntimeError, match="the server ended with -9"):
        killed(variables, tmp_path / "log")
    assert not capsys.readouterr().err
    with pytest.raises(SystemExit), serving(variables, tmp_path / "log"):
        raise SystemExit("a trial that ends badly")
    assert "the server's last lines" in capsys.readouterr().err
