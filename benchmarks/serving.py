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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from madx.config import BackboneConfig
from madx.precision import has_int8

from .agreement import agreement, demo_agreement
from .checkpoints import write_checkpoint
from .comparing import hold_alone, hold_drift, hold_equal, hold_padded
from .figures import MIN_ROUNDS, Absolute, Figure, show, write_figures
from .forming import Forming, as_served, of_tokens
from .peers.mixed import running_mixed
from .peers.padded import Padded, load_padded
from .peers.process import PEER_PYTHON
from .rounds import Speeds, fastest, races, ratio
from .served import Dtype, Ours, Served, bare, open_served, precision_of, random_adapters
from .shapes import XLM_R_BASE, arithmetic
from .stacks import ManyStacks, many_stacks
from .traffic import MOST_TOKENS, Ask, asks, take

SEED = 23
ROUNDS = 5
TOKENS = 4_096
PADDED_ROWS = (1, 2, 4, 8, 16, 32)
HELD_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What runs, and for how long. `tokens` is what each side computes in one round.

    Our batches are those of the server's policy, or of `batch_tokens` where that is given.
    """

    shape: BackboneConfig = XLM_R_BASE
    device: str = "cpu"
    dtype: Dtype = "float32"
    threads: int
    rounds: int = ROUNDS
    tokens: int = TOKENS
    batch_tokens: int | None = None
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

    def forming(self, served: Served) -> Forming:
        return as_served(served.model) if self.batch_tokens is None else of_tokens(self.batch_tokens)

    @property
    def lower(self) -> tuple[Dtype, ...]:
        """Precisions below float32 that are measured on this device."""
        return ("auto", "int8") if has_int8(torch.device(self.device)) else ("auto",)


Contest = Callable[[Setting, Path], dict[str, Figure]]


def stacks(setting: Setting, folder: Path) -> dict[str, Figure]:
    """Our own sides: bare, one stack, every row its own task."""
    adapters = random_adapters(setting.shape, languages=setting.languages, tasks=setting.own_tasks)
    served = open_served(folder, adapters, device=setting.device, dtype=setting.dtype)
    stream = setting.stream(1)
    hold_alone(served, take(stream, HELD_TOKENS), exact=setting.dtype == "float32")
    forming = setting.forming(served)
    sides = {
        "mixed": Ours(served=served, stack_of=served.own_task, forming=forming),
        "single": Ours(served=served, stack_of=served.one_stack, forming=forming),
        "bare": Ours(served=served, stack_of=bare, forming=forming),
    }
    speeds = races(sides, setting.rows(stream))
    dtype = precision_of(setting.dtype, setting.device)
    figures: dict[str, Figure] = {
        "mixed_over_single": ratio(speeds, "mixed", "single"),
        "stack_over_bare": ratio(speeds, "single", "bare"),
    }
    figures |= _speeds({f"{name}_{dtype}": each for name, each in speeds.items()})
    return figures | _batches(setting, sides) | _of_peak(setting, median(speeds["mixed"]))


def _speeds(speeds: Speeds) -> dict[str, Figure]:
    return {name: Absolute(value=round(median(each), 1), unit="tokens/s") for name, each in speeds.items()}


def _batches(setting: Setting, sides: Mapping[str, Ours]) -> dict[str, Figure]:
    """What a batch of ours held on average."""
    rows = take(setting.stream(1), setting.tokens)
    return {
        f"{name}_batch": Absolute(value=round(side.batch_tokens(rows), 1), unit="tokens")
        for name, side in sides.items()
    }


def _of_peak(setting: Setting, tokens_per_s: float) -> dict[str, Figure]:
    """2 MAC tokens/s over the chip's dense peak; a token's attention is that of its own row's length."""
    if setting.peak_tflops is None:
        return {}
    rows = take(setting.stream(1), setting.tokens)
    length = sum(len(ask.ids) ** 2 for ask in rows) / sum(len(ask.ids) for ask in rows)
    operations = 2 * arithmetic(setting.shape, length=length).full_stack
    return {"mixed_of_peak": Absolute(value=operations * tokens_per_s / (setting.peak_tflops * 1e12), unit="of peak")}


def padding(setting: Setting, folder: Path) -> dict[str, Figure]:
    """Our bare packed backbone against `transformers` at the batch size at which it is fastest, both in float32."""
    served = open_served(
        folder,
        random_adapters(setting.shape, languages=0, tasks=0),
        device=setting.device,
        dtype="float32",
    )
    model = load_padded(folder, device=setting.device)
    stream = setting.stream(2)
    hold_padded(served, Padded(model=model, batch_rows=1), take(stream, HELD_TOKENS))
    theirs = {f"{rows} rows": Padded(model=model, batch_rows=rows) for rows in PADDED_ROWS}
    chosen = theirs[fastest(theirs, take(stream, setting.tokens // 2))]
    ours = Ours(served=served, stack_of=bare, forming=setting.forming(served))
    speeds = races({"bare": ours, "transformers": chosen}, setting.rows(stream))
    figures: dict[str, Figure] = {
        "bare_over_transformers": ratio(speeds, "bare", "transformers"),
        "transformers_batch": Absolute(value=chosen.batch_rows, unit="rows"),
    }
    return (
        figures
        | _speeds({"padding_bare_float32": speeds["bare"], "transformers_float32": speeds["transformers"]})
        | _batches(setting, {"padding_bare": ours})
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
        for dtype in setting.lower:
            served[dtype] = open_served(folder, adapters, device=setting.device, dtype=dtype)
            found = agreement(served[dtype].logits(sample, served[dtype].asked), expected)
            hold_drift(dtype, found.drift)
            figures |= found.figures("random_", dtype)
        sides = {
            dtype: Ours(served=each, stack_of=each.asked, forming=setting.forming(each))
            for dtype, each in served.items()
        }
        speeds = races(sides | {"adapterhub": peer}, setting.rows(stream))
    named = {"float32": "fp32"}
    ratios: dict[str, Figure] = {
        f"over_adapterhub_{named.get(dtype, dtype)}": ratio(speeds, dtype, "adapterhub") for dtype in served
    }
    ratios["adapterhub_forward"] = Absolute(value=chosen["rows_at_once"], unit=f"rows at most, per {chosen['per']}")
    return (
        ratios
        | figures
        | _speeds({f"mixed_traffic_{name}_speed": each for name, each in speeds.items()})
        | _batches(setting, {f"mixed_traffic_{name}": side for name, side in sides.items()})
    )


def demo(setting: Setting, _folder: Path) -> dict[str, Figure]:
    return demo_agreement(setting.lower, device=setting.device, sentences=setting.sentences)


def many(setting: Setting, folder: Path) -> dict[str, Figure]:
    contest = ManyStacks(
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
    return many_stacks(contest, folder.parent / "home", folder)


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
    parser.add_argument("--dtype", help="of our own ratios, as GLOSSA_DTYPE names it; default: bfloat16 on CUDA")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of one side in one round")
    parser.add_argument("--batch-tokens", type=int, help="of our batches; default: what the server's policy forms")
    parser.add_argument("--peak-tflops", type=float, help="the chip's dense peak in --dtype, for the fraction of it")
    parser.add_argument("--sentences", type=int, help="of each of the demo's test sets; default: all")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < MIN_ROUNDS:
        parser.error(f"a ratio takes at least {MIN_ROUNDS} rounds")
    if chosen.peak_tflops is not None and chosen.dtype is None:
        parser.error("a peak is that of one precision: name it with --dtype")
    fields = vars(chosen) | {"threads": len(os.sched_getaffinity(0))}
    # Grouped products, which a mixed batch on CUDA is computed with, are there for bfloat16 alone.
    fields["dtype"] = chosen.dtype or ("bfloat16" if torch.device(chosen.device).type == "cuda" else "float32")
    path, only = fields.pop("json"), fields.pop("only") or KEYS
    setting = Setting(**fields)
    figures = measure(setting, only)
    show(figures)
    write_figures(path, figures, dtype=precision_of(setting.dtype, setting.device), device=setting.device)


if __name__ == "__main__":
    main()
