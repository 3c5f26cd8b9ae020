"""The form of a benchmark's result file, shared by every module here.

`{"figures": {key: figure}, "cpu_flags", "dtype", "device", "date"}`: a ratio's figure is
`{"samples": [[numerator, denominator], ...]}` from interleaved rounds, an absolute one `{"value", "unit"}`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from registry.durable import write_file

MIN_ROUNDS = 5
_VECTOR_FLAGS = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "neon", "sse4", "sve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Interleaved rounds of (numerator, denominator); the value is the median of the rounds' ratios."""

    samples: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.samples) < MIN_ROUNDS:
            raise ValueError(f"a ratio takes at least {MIN_ROUNDS} rounds, not {len(self.samples)}")

    @property
    def value(self) -> float:
        return median(numerator / denominator for numerator, denominator in self.samples)

    def as_json(self) -> dict[str, object]:
        return {"samples": [list(pair) for pair in self.samples]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Absolute:
    """One measured quantity, such as seconds or bytes."""

    value: float
    unit: str

    def as_json(self) -> dict[str, object]:
        return {"value": self.value, "unit": self.unit}


Figure = Ratio | Absolute


def show(figures: Mapping[str, Figure]) -> None:
    """A line each, for people."""
    for key, figure in figures.items():
        unit = "" if isinstance(figure, Ratio) else f" {figure.unit}"
        print(f"{key}: {figure.value:.4g}{unit}")


def cpu_flags() -> list[str]:
    """The processor's vector extensions, which decide most of what a CPU figure means; empty where unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return sorted(flag for flag in value.split() if flag.startswith(_VECTOR_FLAGS))
    return []


def write_figures(path: Path, figures: Mapping[str, Figure], *, dtype: str, device: str) -> None:
    """Write the result file whole or not at all."""
    content = {
        "figures": {key: figure.as_json() for key, figure in figures.items()},
        "cpu_flags": cpu_flags(),
        "dtype": dtype,
        "device": device,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(content, indent=2).encode() + b"\n")
