"""Many stacks at the speed of one: what mixing costs, what adapters cost, and how the peers do on the same rows.

`python -m benchmarks.serving --json FILE` runs XLM-R base's shape with random weights on traffic like a server's, each
ratio in interleaved rounds, and needs the interop environment for AdapterHub (`make interop-env` makes it; name its
interpreter in GLOSSA_INTEROP_PYTHON or with --peer-python). docs/benchmarks/serving.md says what each figure compares.
Both sides of a ratio are first held against each other on some rows; where they differ, the run ends.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from madx.config import BackboneConfig
from service.settings import Settings

from .agreement import agreement, demo_agreement
from .checkpoints import write_checkpoint
from .comparing import hold_alone, hold_equal, hold_padded
from .figures import MIN_ROUNDS, Absolute, Figure, show, write_figures
from .peers.mixed import running_mixed
from .peers.padded import Padded, load_padded
from .peers.process import PEER_PYTHON
from .rounds import Side, Speeds, fastest, races, ratio
from .served import Ours, Served, bare, open_served, random_adapters
from .shapes import XLM_R_BASE, arithmetic
from .stacks import Crowd, many_stacks
from .traffic import MOST_TOKENS, Ask, asks, take

SEED = 23
LOWER = ("auto", "int8")
DEFAULT_BATCH_TOKENS: int = Settings.model_fields["batch_tokens"].default
ROUNDS = 5
TOKENS = 2 * DEFAULT_BATCH_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What runs, and for how long. `tokens` is what each side computes in one round."""

    shape: BackboneConfig = XLM_R_BASE
    device: str = "cpu"
    dtype: str = "float32"
    threads: int
    rounds: int = ROUNDS
    tokens: int = TOKENS
    batch_tokens: int = DEFAULT_BATCH_TOKENS
    languages: int = 16
    own_tasks: int = 256
    mixed_tasks: int = 32
    many_languages: int = 100
    many_tasks: int = 100
    few: int = 10
    peak_tflops: float | None = None
    peer_python: str | None = None
    sentences: int | None = None

    def stream(self, purpose: int) -> Iterator[Ask]:
        return asks(
            vocab_size=self.shape.vocab_size,
            languages=self.languages,
            tasks=self.mixed_tasks,
            seed=SEED + purpose,
            most_tokens=min(MOST_TOKENS, self.shape.max_tokens),
        )

    def rows(self, stream: Iterator[Ask]) -> Iterator[list[Ask]]:
        """One round after the other, and one before that warms up."""
        return (take(stream, self.tokens) for _ in range(self.rounds + 1))


Contest = Callable[[Setting, Path], dict[str, Figure]]


def stacks(setting: Setting, folder: Path) -> dict[str, Figure]:
    """Our own sides: bare, one stack, every row its own task."""
    adapters = random_adapters(setting.shape, languages=setting.languages, tasks=setting.own_tasks)
    served = open_served(folder, adapters, device=setting.device, dtype=setting.dtype)
    stream = setting.stream(1)
    hold_alone(served, take(stream, setting.tokens // 8), exact=setting.dtype == "float32")
    sides: dict[str, Side] = {
        "mixed": Ours(served=served, stack_of=served.own_task, batch_tokens=setting.batch_tokens),
        "single": Ours(served=served, stack_of=served.one_stack, batch_tokens=setting.batch_tokens),
        "bare": Ours(served=served, stack_of=bare, batch_tokens=setting.batch_tokens),
    }
    speeds = races(sides, setting.rows(stream))
    figures: dict[str, Figure] = {
        "mixed_over_single": ratio(speeds, "mixed", "single"),
        "stack_over_bare": ratio(speeds, "single", "bare"),
    }
    return figures | _speeds(speeds, setting.dtype) | _of_peak(setting, median(speeds["mixed"]))


def _speeds(speeds: Speeds, dtype: str) -> dict[str, Figure]:
    return {f"{name}_{dtype}": Absolute(value=round(median(each), 1), unit="tokens/s") for name, each in speeds.items()}


def _of_peak(setting: Setting, tokens_per_s: float) -> dict[str, Figure]:
    """2 MAC tokens/s over the chip's dense peak; a token's attention is that of its own row's length."""
    if setting.peak_tflops is None:
        return {}
    rows = take(setting.stream(1), setting.tokens)
    length = sum(len(ask.ids) ** 2 for ask in rows) / sum(len(ask.ids) for ask in rows)
    operations = 2 * arithmetic(setting.shape, length=length).full_stack
    return {"mixed_of_peak": Absolute(value=operations * tokens_per_s / (setting.peak_tflops * 1e12), unit="of peak")}


def padding(setting: Setting, folder: Path) -> dict[str, Figure]:
    """Our bare packed backbone against `transformers`, both in float32, each at its better batch size."""
    served = open_served(
        folder,
        random_adapters(setting.shape, languages=0, tasks=0),
        device=setting.device,
        dtype="float32",
    )
    model = load_padded(folder, device=setting.device)
    stream = setting.stream(2)
    hold_padded(served, Padded(model=model, batch_rows=1), take(stream, 64))
    budgets = {setting.batch_tokens // part: setting.batch_tokens // part for part in (1, 2, 4, 8)}
    ours: dict[str, Side] = {
        f"{tokens} tokens": Ours(served=served, stack_of=bare, batch_tokens=tokens) for tokens in budgets
    }
    theirs: dict[str, Side] = {f"{rows} rows": Padded(model=model, batch_rows=rows) for rows in (4, 8, 16, 32)}
    trial = take(stream, setting.tokens // 2)
    sides = {"bare": ours[fastest(ours, trial)], "transformers": theirs[fastest(theirs, trial)]}
    speeds = races(sides, setting.rows(stream))
    return {"bare_over_transformers": ratio(speeds, "bare", "transformers")} | _speeds(
        {"transformers": speeds["transformers"]}, "float32"
    )


def mixed(setting: Setting, folder: Path) -> dict[str, Figure]:
    """Mixed traffic in every precision against AdapterHub's float32."""
    if setting.peer_python is None:
        raise SystemExit(f"name the interop environment's interpreter in {PEER_PYTHON} or with --peer-python")
    adapters = random_adapters(setting.shape, languages=setting.languages, tasks=setting.mixed_tasks)
    stream = setting.stream(3)
    with running_mixed(
        setting.peer_python,
        backbone=folder,
        adapters=adapters,
        shape=setting.shape,
        threads=setting.threads,
        device=setting.device,
    ) as peer:
        chosen = peer.choose(take(stream, setting.tokens // 2))
        print(f"AdapterHub goes per {chosen['per']}, {chosen['rows_at_once']} rows: {chosen['tried']}", file=sys.stderr)
        exact = open_served(folder, adapters, device=setting.device, dtype="float32")
        sample = take(stream, setting.tokens // 4)
        expected = exact.logits(sample, exact.asked)
        hold_equal("AdapterHub", expected, peer.logits(sample))
        served: dict[str, Served] = {"float32": exact}
        figures: dict[str, Figure] = {}
        for dtype in LOWER:
            served[dtype] = open_served(folder, adapters, device=setting.device, dtype=dtype)
            found = served[dtype].logits(sample, served[dtype].asked)
            figures |= agreement(found, expected).figures("random_", dtype)
        sides: dict[str, Side] = {
            dtype: Ours(served=each, stack_of=each.asked, batch_tokens=setting.batch_tokens)
            for dtype, each in served.items()
        }
        speeds = races(sides | {"adapterhub": peer}, setting.rows(stream))
    named = {"fp32": "float32", "auto": "auto", "int8": "int8"}
    ratios: dict[str, Figure] = {
        f"over_adapterhub_{suffix}": ratio(speeds, dtype, "adapterhub") for suffix, dtype in named.items()
    }
    return ratios | figures | _speeds({f"mixed_traffic_{name}": each for name, each in speeds.items()}, "speed")


def demo(setting: Setting, _folder: Path) -> dict[str, Figure]:
    return demo_agreement(LOWER, device=setting.device, sentences=setting.sentences)


def many(setting: Setting, folder: Path) -> dict[str, Figure]:
    crowd = Crowd(
        shape=setting.shape,
        device=setting.device,
        dtype="auto",
        languages=setting.many_languages,
        tasks=setting.many_tasks,
        few=setting.few,
        rounds=setting.rounds,
        tokens=setting.tokens,
        batch_tokens=setting.batch_tokens,
        seed=SEED,
    )
    return many_stacks(crowd, folder.parent / "home", folder)


CONTESTS: dict[str, tuple[Contest, tuple[str, ...]]] = {
    "stacks": (stacks, ("mixed_over_single", "stack_over_bare")),
    "padding": (padding, ("bare_over_transformers",)),
    "mixed": (mixed, ("over_adapterhub_fp32", "over_adapterhub_auto", "over_adapterhub_int8")),
    "many": (many, ("stacks_10000_over_10", "stacks_10000_tenth_over_10")),
    "demo": (demo, ("label_agreement_auto", "label_agreement_int8")),
}
KEYS = tuple(key for _, keys in CONTESTS.values() for key in keys)


def measure(setting: Setting, only: Sequence[str] = KEYS) -> dict[str, Figure]:
    """The figures `only` names, and what their contests measure besides."""
    torch.set_num_threads(setting.threads)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="glossa-serving-") as made:
        folder = write_checkpoint(Path(made) / "backbone", setting.shape, seed=SEED)
        for contest, keys in CONTESTS.values():
            if set(keys) & set(only):
                figures |= contest(setting, folder)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="the result file to write")
    parser.add_argument("--only", action="append", choices=KEYS, help="a figure; may come several times; default: all")
    parser.add_argument("--peer-python", default=os.environ.get(PEER_PYTHON), help="interpreter that has adapters")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", help="of our own ratios, as GLOSSA_DTYPE names it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of one side in one round")
    parser.add_argument("--batch-tokens", type=int, default=DEFAULT_BATCH_TOKENS, help="of our batches")
    parser.add_argument("--peak-tflops", type=float, help="the chip's dense peak in --dtype, for the fraction of it")
    parser.add_argument("--sentences", type=int, help="of each of the demo's test sets; default: all")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < MIN_ROUNDS:
        parser.error(f"a ratio takes at least {MIN_ROUNDS} rounds")
    fields = vars(chosen) | {"threads": len(os.sched_getaffinity(0))}
    path, only = fields.pop("json"), fields.pop("only") or KEYS
    figures = measure(Setting(**fields), only)
    show(figures)
    write_figures(path, figures, dtype=chosen.dtype, device=chosen.device)


if __name__ == "__main__":
    main()
