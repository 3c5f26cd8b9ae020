"""Language-adapter training: our step against AdapterHub's own recipe, tokens per second on XLM-R base's shape.

`python -m benchmarks.training --json FILE` starts the peer in the interop environment (`make interop` makes it; name
its interpreter in GLOSSA_INTEROP_PYTHON or with --peer-python) and lets both sides train a few steps in turn. Both
train the published adapter of 7,387,776 parameters under dropout 0.1 on random text; the model's weights are random.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from madx.adapter import Adapter
from madx.config import BackboneConfig, language_config
from madx.plan import RowStack, Slot
from trainer.loop import BatchLoss, Optimisation, Schedule, Step, new_optimizer, train_steps
from trainer.objectives import masked_lm
from trainer.seeds import generator_of

from .figures import MIN_ROUNDS, Ratio, write_figures
from .peers.process import PEER_PYTHON, Peer, running_peer
from .shapes import END, MASK, SPECIAL_PIECES, START, XLM_R_BASE, random_backbone

KEY = "language_over_adapterhub_fp32"
PEER = Path(__file__).with_name("peers") / "adapterhub.py"
SEED = 17
DROPOUT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What both sides train on."""

    shape: BackboneConfig = XLM_R_BASE
    rows: int = 8
    length: int = 128
    threads: int


class Ours:
    """Our objective and loop over one frozen backbone; `round` goes on where the last one stopped."""

    def __init__(self, setting: Setting) -> None:
        torch.manual_seed(SEED)
        self._setting = setting
        self._backbone = random_backbone(setting.shape, dropout=DROPOUT).train()
        self.adapter = Adapter(language_config(), None, setting.shape)
        self._stack = RowStack(language=Slot(1))
        is_ordinary = torch.ones(setting.shape.vocab_size, dtype=torch.bool)
        is_ordinary[:SPECIAL_PIECES] = False
        self._masking = masked_lm.Masking(
            mask_id=MASK, is_ordinary=is_ordinary, ordinary_ids=is_ordinary.nonzero().flatten()
        )
        optimisation = Optimisation(schedule=Schedule(peak=1e-4, total=1_000_000), seed=SEED)
        self._steps: Iterator[Step] = train_steps(
            new_optimizer(self.adapter.parameters(), optimisation), self._loss, self._batch, optimisation
        )

    def _batch(self, number: int) -> masked_lm.MaskedBatch:
        generator = generator_of(SEED, "batch", number)
        size = (self._setting.rows, self._setting.length)
        ids = torch.randint(SPECIAL_PIECES, self._setting.shape.vocab_size, size, generator=generator)
        ids[:, 0], ids[:, -1] = START, END
        return masked_lm.mask(ids, generator, self._masking)

    def _loss(self, batch: masked_lm.MaskedBatch) -> BatchLoss:
        adapters = {self._stack.language: self.adapter}
        loss = masked_lm.loss(self._backbone, adapters, self._stack, batch)
        return BatchLoss(loss=loss, tokens=batch.corrupted.numel())

    def round(self, steps: int) -> float:
        """Train `steps` steps; answers tokens/s."""
        start = time.perf_counter()
        tokens = sum(next(self._steps).tokens for _ in range(steps))
        return tokens / (time.perf_counter() - start)


class TrainingPeer:
    """AdapterHub's side, ready to train."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def train(self, steps: int) -> dict[str, Any]:
        """Its speed and its last loss."""
        return self._peer.ask({"steps": steps})

    def round(self, steps: int) -> float:
        """Train `steps` steps; answers tokens/s."""
        return float(self.train(steps)["tokens_per_s"])


@contextmanager
def start_peer(python: str, setting: Setting) -> Iterator[TrainingPeer]:
    """The worker, ready to train the adapter of the same size. Ends it on leaving."""
    shape = setting.shape
    request = {
        "shape": {
            "vocab_size": shape.vocab_size,
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.num_layers,
            "num_attention_heads": shape.num_heads,
            "intermediate_size": shape.intermediate_size,
            "max_position_embeddings": shape.max_positions,
        },
        "dropout": DROPOUT,
        "rows": setting.rows,
        "length": setting.length,
        "threads": setting.threads,
        "seed": SEED,
    }
    with running_peer([python, PEER]) as peer:
        found = peer.ask(request)["adapter_parameters"]
        ours = sum(parameter.numel() for parameter in Adapter(language_config(), None, shape).parameters())
        if found != ours:
            raise SystemExit(f"the peer trains {found} parameters, we train {ours}: not the same adapter")
        yield TrainingPeer(peer)


def measure(setting: Setting, python: str, *, rounds: int, steps: int) -> Ratio:
    """Interleaved rounds of (our tokens/s, theirs), after one step of each that is not counted."""
    torch.set_num_threads(setting.threads)
    ours = Ours(setting)
    samples: list[tuple[float, float]] = []
    with start_peer(python, setting) as peer:
        ours.round(1)
        peer.round(1)
        for number in range(rounds):
            pair = (ours.round(steps), peer.round(steps))
            samples.append(pair)
            print(f"round {number + 1} of {rounds}: {pair[0]:.0f} tokens/s, AdapterHub {pair[1]:.0f}", file=sys.stderr)
    return Ratio(samples=tuple(samples))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="the result file to write")
    parser.add_argument("--peer-python", default=os.environ.get(PEER_PYTHON), help="interpreter that has adapters")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="steps of one side in one round")
    chosen = parser.parse_args(arguments)
    if not chosen.peer_python:
        parser.error(f"name the interop environment's interpreter in {PEER_PYTHON} or with --peer-python")
    if chosen.rounds < MIN_ROUNDS or chosen.steps < 1:
        parser.error(f"a ratio takes at least {MIN_ROUNDS} rounds of at least one step")
    setting = Setting(threads=len(os.sched_getaffinity(0)))
    ratio = measure(setting, chosen.peer_python, rounds=chosen.rounds, steps=chosen.steps)
    write_figures(chosen.json, {KEY: ratio}, dtype="float32", device="cpu")
    print(f"{KEY}: {ratio.value:.2f}")


if __name__ == "__main__":
    main()
