"""The server as its users meet it: through uvicorn, one text a request, the load generator in a process of its own.

`python -m benchmarks.http --json FILE` serves XLM-R base's shape with random weights and measures what HTTP costs over
the engine alone, what cold adapters and a hanging store cost everybody else, what happens under five times the load
that the server can take, and what one greedy key costs another. docs/benchmarks/http.md says what each figure compares.
Where a request is answered otherwise than it should be, the run ends.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .added import added_by_http
from .checkpoints import write_checkpoint
from .cold import cold_loads
from .figures import MIN_ROUNDS, Figure, show, write_figures
from .overload import overload, victim
from .served import precision_of
from .trials import SEED, Sizes
from .world import World, make_world

Trial = Callable[[Sizes, World, Path], dict[str, Figure]]

TRIALS: dict[str, tuple[Trial, tuple[str, ...]]] = {
    "added": (added_by_http, ("http_over_engine", "http_added_p50_ms")),
    "overload": (overload, ("overload_goodput", "reject_p99_ms", "overload_memory_growth_mib")),
    "victim": (victim, ("victim_p99_ratio",)),
    "cold": (cold_loads, ("p99_under_cold_load", "p99_under_hung_store")),
}
KEYS = tuple(key for _, keys in TRIALS.values() for key in keys)


def measure(sizes: Sizes, only: Sequence[str] = KEYS) -> dict[str, Figure]:
    """The figures that `only` names, and what their trials measure besides."""
    torch.set_num_threads(sizes.threads)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="glossa-http-") as made:
        folder = Path(made)
        backbone = write_checkpoint(folder / "backbone", sizes.shape, seed=SEED)
        world = make_world(folder / "home", backbone, languages=sizes.languages, tasks=sizes.tasks)
        for trial, keys in TRIALS.values():
            if set(keys) & set(only):
                figures |= trial(sizes, world, folder)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="the result file to write")
    parser.add_argument("--only", action="append", choices=KEYS, help="a figure; may come several times; default: all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="auto", help="as GLOSSA_DTYPE names it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=384, help="of one closed round")
    parser.add_argument("--seconds", type=float, default=12.0, help="of one window of an open flow")
    parser.add_argument("--overload-s", type=float, default=60.0, help="of the flood")
    parser.add_argument("--batch-tokens", type=int, help="GLOSSA_BATCH_TOKENS; default: the server's own")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < MIN_ROUNDS:
        parser.error(f"a ratio takes at least {MIN_ROUNDS} rounds")
    fields = vars(chosen) | {"threads": len(os.sched_getaffinity(0))}
    path, only = fields.pop("json"), fields.pop("only") or KEYS
    sizes = Sizes(**fields)
    figures = measure(sizes, only)
    show(figures)
    write_figures(path, figures, dtype=precision_of(sizes.dtype, sizes.device), device=sizes.device)


if __name__ == "__main__":
    main()
