"""What a token, an adapter and a mask cost on this machine: a few small forwards, timed when the device thread starts.

`measure` runs them, with adapters made for the purpose; `fit` turns their times into the `Costs` that batches are
chosen by. Only ratios matter much: a batch's time is bounded by them, nothing is promised.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch

from madx.adapter import Adapter
from madx.config import AdapterConfig, BackboneConfig, HeadConfig, language_config, task_config
from madx.forward import Row
from madx.plan import RowStack, Slot

from .batching import Costs
from .model import Model
from .readout import Candidates, read

_ROWS = 4
_ADAPTERS = 2  # of a kind: bringing a large one to the device takes longer than the forwards
_SHORT, _LONG = 8, 40  # tokens of a row
_MASKS = 8  # of each of the rows: reading the vocabulary takes most of the time where there are only a few
_LEAST_ROUNDS, _MOST_ROUNDS = 2, 6
_LIMIT_S = 0.6
_WEIGHT = 0.01
_MOST_TOKENS = 2_048.0  # that an adapter or a mask may cost: a machine that stood still for a moment is no cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds of `_ROWS` rows: short ones of one stack; the same, but longer; with `_ADAPTERS` of a kind instead of
    one; and read by the masked-LM head at `_MASKS` positions each. None: the backbone has no such head.
    """

    short_s: float
    long_s: float
    languages_s: float
    tasks_s: float
    masked_s: float | None


def fit(timings: Timings, backbone: BackboneConfig) -> Costs:
    """Noise may make a longer forward the faster one, so every cost is held within bounds."""
    per_token_s = (timings.long_s - timings.short_s) / (_ROWS * (_LONG - _SHORT))
    # At least what the long rows would take if nothing else did a quarter of it: never nothing.
    per_token_s = max(per_token_s, timings.long_s / (_ROWS * _LONG) / 4, 1e-9)

    def in_tokens(seconds: float | None, times: int) -> float:
        """What came on top of the short rows, for one of `times` things."""
        extra_s = 0.0 if seconds is None else (seconds - timings.short_s) / times
        return min(max(extra_s / per_token_s, 0.0), _MOST_TOKENS)

    language, task = in_tokens(timings.languages_s, _ADAPTERS - 1), in_tokens(timings.tasks_s, _ADAPTERS - 1)
    computed_s = (_ROWS * _SHORT + language + task) * per_token_s
    return Costs(
        seconds_per_token=per_token_s,
        fixed_s=max(timings.short_s - computed_s, 0.0),
        attention=attention_of(backbone),
        language=language,
        task=task,
        masked=in_tokens(timings.masked_s, _ROWS * _MASKS),
    )


def attention_of(backbone: BackboneConfig) -> float:
    """Scores and values of a row cost this many tokens per squared token: 2 T h against 4 h² + 2 h i each."""
    return 2 / (4 * backbone.hidden_size + 2 * backbone.intermediate_size)


def measure(model: Model) -> Timings:
    """In the device thread, before it serves. Leaves the bank as it was."""
    config = model.loaded.config
    head = HeadConfig(type="tagging", labels=("O", "B"))
    with (
        _made(model, language_config(), None) as languages,
        _made(model, task_config(), head) as tasks,
        torch.inference_mode(),
    ):
        one, mixed = [0] * _ROWS, [row % _ADAPTERS for row in range(_ROWS)]

        def rows(tokens: int, language: list[int], task: list[int]) -> Callable[[], None]:
            stacks = [RowStack(language=languages[a], task=tasks[b]) for a, b in zip(language, task, strict=True)]
            packed = [Row(input_ids=_ids(tokens, config), positions=(1,), stack=stack) for stack in stacks]
            return lambda: _read(model, packed)

        trials = {
            "short": rows(_SHORT, one, one),
            "long": rows(min(_LONG, config.max_tokens), one, one),
            "languages": rows(_SHORT, mixed, one),
            "tasks": rows(_SHORT, one, mixed),
        }
        if model.loaded.backbone.masked_lm is not None:
            stack = RowStack(language=languages[0])
            masked = [Row(input_ids=_ids(_SHORT, config), positions=tuple(range(_MASKS)), stack=stack)] * _ROWS
            trials["masked"] = lambda: _read(model, masked)
        seconds = _timed(trials, warms_up=model.loaded.backbone.device.type != "cpu")
        return Timings(
            short_s=seconds["short"],
            long_s=seconds["long"],
            languages_s=seconds["languages"],
            tasks_s=seconds["tasks"],
            masked_s=seconds.get("masked"),
        )


def _timed(trials: Mapping[str, Callable[[], None]], *, warms_up: bool) -> dict[str, float]:
    """Interleaved rounds, so that a slow moment of the machine strikes all alike; the median of each.

    `warms_up`: the device's first forward of every kind is slow.
    """
    seconds: dict[str, list[float]] = {name: [] for name in trials}
    for run in [*trials.values()][: None if warms_up else 1]:
        run()
    began_s = time.perf_counter()
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.perf_counter() - began_s > _LIMIT_S:
            break
        for name, run in trials.items():
            started_s = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started_s)
    return {name: median(taken) for name, taken in seconds.items()}


def _ids(tokens: int, config: BackboneConfig) -> tuple[int, ...]:
    return tuple(index % config.vocab_size for index in range(2, 2 + tokens))


def _read(model: Model, rows: list[Row]) -> None:
    """As `model.run_rows` does; reading an answer waits for the device."""
    for logits in model.infer(rows):
        read(logits, Candidates(top_k=1))


@contextmanager
def _made(model: Model, config: AdapterConfig, head: HeadConfig | None) -> Iterator[list[Slot]]:
    """Slots of `_ADAPTERS` adapters of one shape, removed again."""
    slots: list[Slot] = []
    try:
        for _ in range(_ADAPTERS):
            with torch.device("meta"):
                adapter = Adapter(config, head, model.loaded.config)
            adapter = adapter.to_empty(device="cpu").requires_grad_(False).eval()
            for parameter in adapter.parameters():
                parameter.fill_(_WEIGHT)
            slots.append(model.bank.add(model.bank.stage(adapter)))
        yield slots
    finally:
        for slot in slots:
            model.bank.remove(slot)
