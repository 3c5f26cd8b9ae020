"""The peer of mixed traffic: AdapterHub's `adapters` at its best correct way, one padded forward on request.

Runs in the interop environment, started by `benchmarks.serving`: one JSON request a line on standard input, one JSON
answer a line on standard output. One forward has one language, because a second one's invertible adapter would not
act; inside it rows have one task, or a task each by `Stack(language, BatchSplit(tasks))`. Whether that pays, and how
many rows a forward should have, it finds out on rows that it is given before. Rows of a group are sorted by length.
Heads read their own rows alone, which the library's routing would not do.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import adapters
import torch
from adapters import AdapterSetup, AutoAdapterModel, SeqBnConfig, SeqBnInvConfig
from adapters.composition import BatchSplit, Stack
from safetensors.torch import load_file

Row = dict[str, Any]
"""`ids` with special tokens, `language` and `task` as ranks."""


@dataclass(frozen=True)
class Way:
    """How rows become forwards: a group per stack or per language, of at most so many rows."""

    per: str
    rows_at_once: int


WAYS = [Way("stack", 8), Way("stack", 32), *(Way("language", rows) for rows in (8, 16, 32, 64))]


def build_model(request: dict[str, Any]) -> Any:
    """The checkpoint with all adapters of `request["adapters"]`, a safetensors file under the library's own names."""
    auto: Any = AutoAdapterModel
    model = auto.from_pretrained(request["backbone"], attn_implementation="sdpa")
    for rank in range(request["languages"]):
        model.add_adapter(f"language{rank}", config=SeqBnInvConfig(reduction_factor=2))
    for rank in range(request["tasks"]):
        model.add_adapter(f"task{rank}", config=SeqBnConfig(reduction_factor=16))
        model.add_tagging_head(f"task{rank}", num_labels=request["labels"], layers=1)
    tensors = load_file(request["adapters"])
    report = model.load_state_dict(tensors, strict=False)
    own = {name for name, _ in model.named_parameters() if is_ours(name)}
    if report.unexpected_keys or own != set(tensors):
        raise SystemExit(f"not the same adapters: {sorted(own ^ set(tensors))[:3]}")
    return model.eval().to(request["device"])


def is_ours(name: str) -> bool:
    return any(part.startswith(("language", "task")) and part[-1].isdigit() for part in name.split("."))


def groups(rows: Sequence[Row], way: Way) -> Iterator[list[int]]:
    """Numbers of the rows of each forward, in the order in which they lie in it."""

    def stack(number: int) -> tuple[int, ...]:
        row = rows[number]
        return (row["language"], row["task"]) if way.per == "stack" else (row["language"],)

    def length(number: int) -> int:
        return len(rows[number]["ids"])

    by_stack = sorted(range(len(rows)), key=lambda number: (stack(number), length(number)))
    for _, members in itertools.groupby(by_stack, key=stack):
        ordered = list(members)
        for start in range(0, len(ordered), way.rows_at_once):
            yield sorted(ordered[start : start + way.rows_at_once], key=lambda number: rows[number]["task"])


class Worker:
    """The model, the way it goes, and the round's rows."""

    def __init__(self, request: dict[str, Any]) -> None:
        torch.set_num_threads(request["threads"])
        self.model = build_model(request)
        self.device = torch.device(request["device"])
        self.way = WAYS[0]
        self.rows: list[Row] = []
        self.forwards: list[list[int]] = []

    def plan(self, rows: list[Row]) -> list[int]:
        """Takes a round's rows; tokens of each of its forwards."""
        self.rows = rows
        self.forwards = list(groups(rows, self.way))
        return [sum(len(rows[number]["ids"]) for number in forward) for forward in self.forwards]

    def choose(self, rows: list[Row]) -> dict[str, Any]:
        """Try every way on `rows` and keep the fastest."""
        seconds = {}
        for way in WAYS:
            self.way = way
            forwards = len(self.plan(rows))
            self.run(0)
            seconds[way] = sum(self.run(index) for index in range(forwards))
        self.way = min(seconds, key=lambda way: seconds[way])
        return {
            "per": self.way.per,
            "rows_at_once": self.way.rows_at_once,
            "tried": [[way.per, way.rows_at_once, round(spent, 2)] for way, spent in seconds.items()],
        }

    def run(self, index: int) -> float:
        """One forward of the round; seconds."""
        start = time.perf_counter()
        self.forward(self.forwards[index])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    @torch.inference_mode()
    def forward(self, numbers: Sequence[int]) -> dict[int, torch.Tensor]:
        """Number of a row -> its logits (T, labels), all rows of one language, neighbours of one task together."""
        rows = [self.rows[number] for number in numbers]
        longest = max(len(row["ids"]) for row in rows)
        pad = self.model.config.pad_token_id
        ids = torch.tensor([row["ids"] + [pad] * (longest - len(row["ids"])) for row in rows]).to(self.device)
        mask = torch.tensor([[1] * len(row["ids"]) + [0] * (longest - len(row["ids"])) for row in rows])
        runs = [(task, len(list(members))) for task, members in itertools.groupby(row["task"] for row in rows)]
        with AdapterSetup(self.stack(rows[0]["language"], runs)):
            hidden = self.model.base_model(ids, attention_mask=mask.to(self.device))[0]
        logits: list[torch.Tensor] = []
        for (task, _), part in zip(runs, hidden.split([count for _, count in runs]), strict=True):
            for module in self.model.heads[f"task{task}"]:
                part = module(part)
            logits.extend(part)
        return {number: row[: len(self.rows[number]["ids"])] for number, row in zip(numbers, logits, strict=True)}

    def stack(self, language: int, runs: Sequence[tuple[int, int]]) -> Any:
        if len(runs) == 1:
            return Stack(f"language{language}", f"task{runs[0][0]}")
        tasks = BatchSplit(*(f"task{task}" for task, _ in runs), batch_sizes=[count for _, count in runs])
        return Stack(f"language{language}", tasks)

    def logits(self, rows: list[Row]) -> list[list[list[float]]]:
        """Each row's logits at its inner positions, computed the way that was chosen."""
        self.plan(rows)
        found: dict[int, torch.Tensor] = {}
        for forward in self.forwards:
            found |= self.forward(forward)
        return [found[number][1:-1].float().tolist() for number in range(len(rows))]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "choose" in request:
            return self.choose(request["choose"])
        if "way" in request:
            self.way = Way(**request["way"])
            return {}
        if "plan" in request:
            return {"tokens": self.plan(request["plan"])}
        if "run" in request:
            return {"seconds": self.run(request["run"])}
        return {"logits": self.logits(request["logits"])}


def write(stream: TextIO, content: object) -> None:
    stream.write(json.dumps(content) + "\n")
    stream.flush()


def main() -> None:
    # Libraries print to standard output at times, which would break the protocol: they get standard error.
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(json.loads(sys.stdin.readline()))
    write(stream, {"version": adapters.__version__})
    for line in sys.stdin:
        write(stream, worker.answer(json.loads(line)))


if __name__ == "__main__":
    main()
