"""Where a run stands: its counts, its best weights and its estimates, to and from a training checkpoint."""

from dataclasses import dataclass, field

import torch

from madx.manifest import JsonScalar

from .checkpoints import TrainingState
from .errors import DamagedCheckpoint


@dataclass(slots=True, kw_only=True)
class Progress:
    """What changes while a run goes on, besides weights and moments; all of it is in the checkpoint."""

    planned: int
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    seconds_per_step: float = 0.0
    seconds_per_assessment: float = 0.0
    is_finished: bool = False
    best_score: float | None = None
    best_step: int = 0
    stale: int = 0
    baseline: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    def facts(self) -> dict[str, JsonScalar]:
        plain: dict[str, JsonScalar] = {name: getattr(self, name) for name in _PLAIN}
        plain.update({f"baseline.{name}": value for name, value in self.baseline.items()})
        plain.update({f"metrics.{name}": value for name, value in self.metrics.items()})
        return plain

    @staticmethod
    def of(state: TrainingState) -> "Progress":
        """The reverse of `facts` and `best`. Raises `DamagedCheckpoint`."""
        progress = Progress(planned=0, step=state.step)
        missing = [name for name in _PLAIN if name not in state.facts]
        if missing:
            raise DamagedCheckpoint(f"the training checkpoint lacks {missing[0]}; delete its folder to start anew")
        for name in _PLAIN:
            setattr(progress, name, state.facts[name])
        for name, value in state.facts.items():
            group, _, metric = name.partition(".")
            if group in ("baseline", "metrics") and metric:
                assert isinstance(value, float)
                getattr(progress, group)[metric] = value
        progress.best = {
            name.removeprefix("best."): tensor for name, tensor in state.tensors.items() if name.startswith("best.")
        }
        return progress


_PLAIN = (
    "planned",
    "tokens",
    "seconds",
    "seconds_per_step",
    "seconds_per_assessment",
    "is_finished",
    "best_score",
    "best_step",
    "stale",
)
