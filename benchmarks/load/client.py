"""The benchmark's end of the load generator: pools in, flows in, numbers out."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from ..peers.process import Peer, running_peer
from .flows import FIELDS, Flow

Request = dict[str, str]
"""`path`, `body` as text, and where there are keys a `key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A flow's requests, a line each, with the columns of `flows.FIELDS`."""

    table: npt.NDArray[np.float64]  # (N, len(FIELDS))

    def column(self, name: str) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = self.table[:, FIELDS.index(name)]
        return found

    def __len__(self) -> int:
        return len(self.table)

    def only(self, status: int) -> "Sent":
        return Sent(table=self.table[self.column("status") == status])

    @property
    def statuses(self) -> dict[int, int]:
        """Status -> how many."""
        values, counts = np.unique(self.column("status").astype(int), return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))

    @property
    def done_s(self) -> npt.NDArray[np.float64]:
        """When each was answered, since the flow's start."""
        return self.column("due_s") + self.column("seconds")

    @property
    def tokens(self) -> float:
        return float(self.column("tokens").sum())

    @property
    def tokens_per_s(self) -> float:
        """From the first request to the last answer."""
        return self.tokens / float(self.done_s.max() - self.column("due_s").min())

    def percentile_ms(self, percent: float) -> float:
        return 1e3 * float(np.percentile(self.column("seconds"), percent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of some flows. `processor_share` is the generator's own, of one core."""

    flows: Mapping[str, Sent]
    processor_share: float


class Generator:
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def run(self, *flows: Flow, begin: Mapping[str, int] | None = None) -> Load:
        """Run `flows` beside each other until all are answered. Pools go on where they stopped, or at `begin`."""
        answer: dict[str, Any] = self._peer.ask({"flows": [asdict(flow) for flow in flows], "begin": begin or {}})
        return Load(
            flows={
                name: Sent(table=np.array(lines, dtype=np.float64).reshape(-1, len(FIELDS)))
                for name, lines in answer["flows"].items()
            },
            processor_share=answer["processor_seconds"] / answer["seconds"],
        )


@contextmanager
def running_generator(url: str, pools: Mapping[str, Sequence[Request]]) -> Iterator[Generator]:
    """For the server at `url`. Ends the process on leaving."""
    address = urlsplit(url)
    with running_peer([sys.executable, "-m", "benchmarks.load.generator"]) as peer:
        peer.ask({"host": address.hostname, "port": address.port, "pools": pools})
        yield Generator(peer)
