"""Our end of the mixed-traffic peer: gives it the same weights, rows to run, and takes its speeds and logits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from madx.adapter import Adapter
from madx.adapterhub.names import HubNaming, to_hub
from madx.config import BackboneConfig

from ..rounds import Step
from ..served import Adapters
from ..shapes import LABELS
from ..traffic import Ask
from .process import Peer, running_peer

WORKER = Path(__file__).with_name("mixed_adapterhub.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """AdapterHub on mixed rows, the fastest correct way that it found."""

    peer: Peer

    def choose(self, rows: Sequence[Ask]) -> dict[str, Any]:
        """Let it find that way; its answer says which it is."""
        return self.peer.ask({"choose": as_json(rows)})

    def go(self, *, per: str, rows_at_once: int) -> None:
        """Take that way from here on: a group per "stack" or per "language"."""
        self.peer.ask({"way": {"per": per, "rows_at_once": rows_at_once}})

    def steps(self, rows: Sequence[Ask]) -> list[Step]:
        tokens: list[int] = self.peer.ask({"plan": as_json(rows)})["tokens"]
        return [Step(tokens=count, run=Forward(peer=self.peer, index=index)) for index, count in enumerate(tokens)]

    def logits(self, rows: Sequence[Ask]) -> list[torch.Tensor]:
        """Each row's (inner positions, labels)."""
        return [torch.tensor(row) for row in self.peer.ask({"logits": as_json(rows)})["logits"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One forward of the planned round. Its seconds are the peer's own: what passes between us is not counted."""

    peer: Peer
    index: int

    def __call__(self) -> float:
        return float(self.peer.ask({"run": self.index})["seconds"])


def as_json(rows: Sequence[Ask]) -> list[dict[str, object]]:
    return [{"ids": ask.ids, "language": ask.language, "task": ask.task} for ask in rows]


def write_adapters(path: Path, adapters: Adapters, shape: BackboneConfig) -> None:
    """All of them in one file, under AdapterHub's names: language0, language1, ..., task0, ..."""
    tensors: dict[str, torch.Tensor] = {}
    for kind, each in (("language", adapters.languages), ("task", adapters.tasks)):
        for rank in range(len(each)):
            tensors |= _named(each[rank], f"{kind}{rank}", shape)
    save_file(tensors, path)


def _named(adapter: Adapter, name: str, shape: BackboneConfig) -> dict[str, torch.Tensor]:
    naming = HubNaming(family=shape.family, adapter=name, head=name)
    return to_hub(adapter.state_dict(), config=adapter.config, head=adapter.head_config, backbone=shape, naming=naming)


@contextmanager
def running_mixed(
    python: str, *, backbone: Path, adapters: Adapters, shape: BackboneConfig, threads: int, device: str
) -> Iterator[Mixed]:
    """The worker, with the backbone of that folder and these adapters. Ends it on leaving."""
    path = backbone / "adapters-for-the-peer.safetensors"
    write_adapters(path, adapters, shape)
    request = {
        "backbone": str(backbone),
        "adapters": str(path),
        "languages": len(adapters.languages),
        "tasks": len(adapters.tasks),
        "labels": len(LABELS),
        "threads": threads,
        "device": device,
    }
    with running_peer([python, WORKER]) as peer:
        peer.ask(request)
        path.unlink()
        yield Mixed(peer=peer)
