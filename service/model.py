"""What the device thread runs: backbone, bank, and the rows of a batch -> their answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from madx.bank import Bank
from madx.errors import InvalidConfig
from madx.forward import Row, infer
from madx.graphs import CudaCapture, Graphs
from madx.lanes import Lanes
from madx.linear import prepack
from madx.loading import LoadedBackbone, load_backbone
from madx.manifest import Digest
from madx.plan import IDENTITY, RowStack, Slot
from madx.precision import Precision, choose_precision
from madx.rounding import infer_rounded
from registry.values import Version

from .errors import InvalidSettings
from .readout import RowAnswer, read_rows
from .settings import Settings
from .work import AskedRow

_RECORDED_AFTER = 4
"""Batches of one shape: to record one holds others up, so it has to come again and again."""

Infer = Callable[[Sequence[Row]], list[torch.Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded backbone, the bank beside it, and the forward over both.

    `infer` runs a batch on all of the device; where there are `lanes`, it may also run in several of them at once. A
    batch of a new shape runs as it will from then on once it has run `warm_ups` times.
    """

    loaded: LoadedBackbone
    bank: Bank
    precision: Precision
    infer: Infer
    lanes: Lanes | None = None
    warm_ups: int = 0

    @property
    def width(self) -> int:
        """How many batches run side by side at most."""
        return 1 if self.lanes is None else self.lanes.number


def open_model(settings: Settings) -> Model:
    """In the device thread, which alone changes the bank; loader threads stage adapters, and lanes run batches."""
    device = choose_device(settings.device)
    try:
        precision = choose_precision(settings.dtype, device)
    except InvalidConfig as error:
        raise InvalidSettings(f"GLOSSA_DTYPE: {error}") from error
    return assemble(load_backbone(settings.backbone, device=device, dtype=precision.activations), precision)


def assemble(loaded: LoadedBackbone, precision: Precision) -> Model:
    """A backbone, loaded in the precision's activations and now prepacked, beside an empty bank."""
    backbone = loaded.backbone
    prepack(backbone, precision.weights)
    bank = Bank(loaded.config, device=backbone.device, precision=precision)
    return _sped_up(
        Model(
            loaded=loaded,
            bank=bank,
            precision=precision,
            infer=lambda rows: infer(backbone, bank, rows),
            warm_ups=1,
        )
    )


def _sped_up(model: Model) -> Model:
    """In lanes on the cores of a CPU; by graphs on CUDA, where grouped products and attention can be recorded."""
    backbone, bank = model.loaded.backbone, model.bank
    if backbone.device.type == "cpu":
        cores = torch.get_num_threads()
        lanes = Lanes(cores) if cores > 1 else None
        return replace(model, infer=lambda rows: infer_rounded(backbone, bank, rows), lanes=lanes, warm_ups=0)
    if backbone.device.type == "cuda" and bank.grouped_slabs is not None and backbone.runs_varlen:
        graphs = Graphs(backbone, bank, capture=CudaCapture(backbone.device), after=_RECORDED_AFTER)
        return replace(
            model,
            infer=lambda rows: infer(backbone, bank, rows, encode=graphs.hidden_states),
            warm_ups=_RECORDED_AFTER,
        )
    return model


def choose_device(name: str) -> torch.device:
    """Raises `InvalidSettings` for what is no CPU or CUDA device of this machine."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _no_device(name) from error
    if device.type not in ("cpu", "cuda"):
        raise _no_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidSettings(
            f"GLOSSA_DEVICE: there is no {name} here, only {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    return device


def _no_device(name: str) -> InvalidSettings:
    return InvalidSettings(f"GLOSSA_DEVICE: {name!r} is no device to serve from; use auto, cpu, cuda or cuda:N")


def run_rows(model: Model, rows: Sequence[AskedRow], slots: Mapping[Digest, Slot]) -> list[RowAnswer | None]:
    """One forward over rows of any languages and tasks, None for each whose answer is not finite.

    `slots` has every adapter they name.
    """

    def slot(version: Version | None) -> Slot:
        return IDENTITY if version is None else slots[version.manifest_digest]

    packed = [
        Row(
            input_ids=row.input_ids,
            positions=row.positions,
            stack=RowStack(language=slot(row.language), task=slot(row.task), leave_out=row.leave_out),
        )
        for row in rows
    ]
    return read_rows(model.infer(packed), [row.readout for row in rows])
