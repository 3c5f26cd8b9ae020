"""What a token, an adapter and a mask cost on this machine: a few small forwards, timed when the device thread starts.

`measure` runs them, with adapters made for the purpose; `fit` turns their times into the `Costs` that batches are
chosen by. Only ratios matter much: a batch's time is bounded by them, nothing is promised.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from madx.adapter import Adapter
from madx.bank import Staged
from madx.config import AdapterConfig, BackboneConfig, HeadConfig, language_config, task_config
from madx.forward import Row
from madx.plan import RowStack, Slot
from madx.threads import OneThread

from .batching import Costs
from .model import Model
from .readout import Candidates, read

_ROWS = 4
"""In each lane."""
_MOST_ADAPTERS = 3
"""Of a kind, in each lane: bringing a large one to the device takes as long as a forward."""
_SHORT, _LONG, _LONG_OFF_CPU = 4, 20, 512
"""Tokens of a row. Other devices than a CPU begin a forward more slowly than they compute a few tokens."""
_MASKS = 4
"""Of each row: reading the vocabulary takes most of the time where there are only a few."""
_LEAST_ROUNDS, _MOST_ROUNDS = 4, 6
_LIMIT_S = 0.8
_MOST_TOKENS = 2_048.0
"""That an adapter or a mask may cost: a machine that stood still for a moment is no cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds of `rows` rows: short ones of one stack; the same, but of `long` tokens; with `adapters` of a kind, not
    one; and read by the masked-LM head at `_MASKS` positions each. None: the backbone has no such head.
    """

    rows: int
    long: int
    adapters: int
    short_s: float
    long_s: float
    languages_s: float
    tasks_s: float
    masked_s: float | None


def fit(timings: Timings, backbone: BackboneConfig) -> Costs:
    """Noise may make a longer forward the faster one, so every cost is held within bounds."""
    attention, others = attention_of(backbone), timings.adapters - 1
    short, long = (timings.rows * (tokens + attention * tokens * tokens) for tokens in (_SHORT, timings.long))
    # At least what the long rows would take if nothing else did a quarter of it: never nothing.
    per_token_s = max((timings.long_s - timings.short_s) / (long - short), timings.long_s / long / 4, 1e-9)

    def in_tokens(seconds: float | None, times: int) -> float:
        """What came on top of the short rows, for one of `times` things."""
        extra_s = 0.0 if seconds is None else (seconds - timings.short_s) / times
        return min(max(extra_s / per_token_s, 0.0), _MOST_TOKENS)

    language, task = in_tokens(timings.languages_s, others), in_tokens(timings.tasks_s, others)
    computed_s = (short + language + task) * per_token_s
    return Costs(
        seconds_per_token=per_token_s,
        fixed_s=max(timings.short_s - computed_s, 0.0),
        attention=attention,
        language=language,
        task=task,
        masked=in_tokens(timings.masked_s, timings.rows * _MASKS),
    )


def attention_of(backbone: BackboneConfig) -> float:
    """Scores and values of a row cost this many tokens per squared token: 2 T h against 4 h² + 2 h i each."""
    return 2 / (4 * backbone.hidden_size + 2 * backbone.intermediate_size)


def spread(lanes: int) -> list[int]:
    """Which adapter each row has, by number, lane by lane.

    Every lane gets as many different ones, since the slowest is waited for. The last of one is the first of the next,
    so that few have to be made; where there are many lanes, each has two.
    """
    in_lane = max(2, min(_MOST_ADAPTERS, 1 + 2 * _MOST_ADAPTERS // lanes))
    return [lane * (in_lane - 1) + row * in_lane // _ROWS for lane in range(lanes) for row in range(_ROWS)]


def measure(model: Model) -> Timings:
    """In the device thread, before it serves. Leaves the bank as it was."""
    config = model.loaded.config
    mixed = spread(model.width)
    one, adapters = [0] * len(mixed), mixed[-1] + 1
    long = min(_LONG if model.loaded.backbone.device.type == "cpu" else _LONG_OFF_CPU, config.max_tokens)
    head = HeadConfig(type="tagging", labels=("O", "B"))
    with (
        _made(model, language_config(), None, adapters) as languages,
        _made(model, task_config(), head, adapters) as tasks,
        torch.inference_mode(),
    ):

        def rows(tokens: int, language: Sequence[int], task: Sequence[int]) -> Callable[[], None]:
            stacks = [RowStack(language=languages[a], task=tasks[b]) for a, b in zip(language, task, strict=True)]
            packed = [Row(input_ids=_ids(tokens, config), positions=(1,), stack=stack) for stack in stacks]
            return lambda: _read(model, packed)

        trials = {
            "short": rows(_SHORT, one, one),
            "languages": rows(_SHORT, mixed, one),
            "tasks": rows(_SHORT, one, mixed),
            "long": rows(long, one, one),
        }
        if model.loaded.backbone.masked_lm is not None:
            stack = RowStack(language=languages[0])
            masked = [Row(input_ids=_ids(_SHORT, config), positions=tuple(range(_MASKS)), stack=stack)] * len(mixed)
            trials["masked"] = lambda: _read(model, masked)
        seconds = timed(trials, warm_ups=model.warm_ups)
    return Timings(
        rows=len(mixed),
        long=long,
        adapters=adapters,
        short_s=seconds["short"],
        long_s=seconds["long"],
        languages_s=seconds["languages"],
        tasks_s=seconds["tasks"],
        masked_s=seconds.get("masked"),
    )


def timed(
    trials: Mapping[str, Callable[[], None]], *, warm_ups: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """The least time of each, after it has run `warm_ups` times: whatever else the machine did only adds to it.

    In interleaved rounds, so that a slow moment strikes all alike.
    """
    for run in trials.values():
        for _ in range(warm_ups):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in trials}
    began_s = clock()
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and clock() - began_s > _LIMIT_S:
            break
        for name, run in trials.items():
            started_s = clock()
            run()
            seconds[name].append(clock() - started_s)
    return {name: min(taken) for name, taken in seconds.items()}


def _ids(tokens: int, config: BackboneConfig) -> tuple[int, ...]:
    return tuple(index % config.vocab_size for index in range(2, 2 + tokens))


def _read(model: Model, rows: list[Row]) -> None:
    """All rows, in every lane its own at once."""
    if model.lanes is None:
        _read_batch(model, rows)
        return
    batches = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    for lane in [model.lanes.submit(partial(_read_batch, model, batch)) for batch in batches]:
        lane.result()


def _read_batch(model: Model, rows: list[Row]) -> None:
    """As `model.run_rows` does; reading an answer waits for the device."""
    for logits in model.infer(rows):
        read(logits, Candidates(top_k=1))


@contextmanager
def _made(model: Model, config: AdapterConfig, head: HeadConfig | None, number: int) -> Iterator[list[Slot]]:
    """Slots, in order, of so many adapters of one shape, which add nothing. Removed again."""
    with torch.device("meta"):
        shape = Adapter(config, head, model.loaded.config)
    tensors = {name: torch.zeros(tensor.shape) for name, tensor in shape.state_dict().items()}
    shape.load_state_dict(tensors, assign=True)

    def staged() -> list[Staged]:
        return [model.bank.stage(shape) for _ in range(number)]

    slots: list[Slot] = []
    try:
        # On a thread of one, as loaders have: spread over cores that others use, so many small copies take seconds.
        with ThreadPoolExecutor(1, initializer=OneThread().begin) as pool:
            slots.extend(model.bank.add(each) for each in pool.submit(staged).result())
        slots.sort()
        yield slots
    finally:
        for slot in slots:
            model.bank.remove(slot)
