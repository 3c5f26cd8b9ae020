"""A home with a tiny backbone and real adapters in its registry, and engines and apps that run on it."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from starlette.testclient import TestClient

from madx.config import HeadConfig, language_config
from madx.forward import Row
from madx.lanes import Lanes
from madx.loading import LoadedBackbone, load_backbone
from registry import catalog
from registry.references import AdapterRef
from registry.registry import Registry, open_registry
from registry.values import Version
from service.app import create_app
from service.device_thread import EngineLimits
from service.engine import Engine
from service.metrics import Metrics
from service.model import Model, open_model
from service.readout import AllLogits, Candidates
from service.residency.fetching import Came
from service.residency.reading import StoreReader, Weights
from service.residency.tiers import Limits as Memory
from service.residency.tiers import Residency
from service.settings import Settings
from service.work import AskedRow, Done

from . import tiny

PATIENCE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """`folder` is a GLOSSA_HOME whose registry has language adapters en and sw and the task adapter ner."""

    folder: Path
    backbone: Path
    loaded: LoadedBackbone

    def settings(self, **given: Any) -> Settings:
        """In float32, whatever this processor has: scores are held against those of the network itself."""
        fields: dict[str, Any] = {
            "home": self.folder,
            "backbone": str(self.backbone),
            "device": "cpu",
            "dtype": "float32",
            "keys": "off",
        }
        return Settings(**(fields | given))

    def copy(self, folder: Path) -> "Home":
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        registry = open_registry(self.folder)
        yield registry
        registry.close()

    def version(self, name: str) -> Version:
        with self.registry() as registry:
            return catalog.resolve(registry, AdapterRef(name=name))

    def publish(self, name: str, checkpoint: tuple[bytes, bytes]) -> Version:
        with self.registry() as registry:
            return tiny.publish_adapter(registry, name, checkpoint)

    @contextmanager
    def client(self, **settings: Any) -> Iterator[TestClient]:
        with TestClient(create_app(self.settings(**settings))) as client:
            yield client


def make_home(folder: Path, *, masked_lm: bool = True) -> Home:
    backbone = tiny.make_backbone(folder / "tiny", masked_lm=masked_lm)
    home = Home(folder=folder / "home", backbone=backbone, loaded=load_backbone(backbone))
    with home.registry() as registry:
        tiny.register_backbone(registry, home.loaded)
    home.publish("en", tiny.language_checkpoint(home.loaded, "en", seed=1))
    own_head = None if masked_lm else HeadConfig(type="masked_lm")
    without_nice = language_config(invertible=False)
    home.publish("sw", tiny.language_checkpoint(home.loaded, "sw", config=without_nice, head=own_head, seed=2))
    home.publish("ner", tiny.task_checkpoint(home.loaded, seed=3))
    return home


@dataclass(slots=True, kw_only=True)
class Forward:
    """The model's own forward, which a test can hold up or make fail once the engine has started.

    `batches` has the row count of each, `threads` where it ran; each takes one of `failures`, None for none, and
    `poison` fails every time. A batch waits for the first of `gates` that none has taken, else for `gate`.
    """

    real: Any = None
    is_watched: bool = False
    batches: list[int] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    gates: list[threading.Event] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    failures: list[BaseException | None] = field(default_factory=list)
    poison: tuple[int, ...] = ()

    def __call__(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        if not self.is_watched:
            unwatched: list[torch.Tensor] = self.real(rows)
            return unwatched
        gate = self.gates.pop(0) if self.gates else self.gate
        self.batches.append(len(rows))
        self.threads.append(threading.current_thread().name)
        self.entered.release()
        assert gate.wait(PATIENCE_S)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if any(row.input_ids == self.poison for row in rows):
            raise RuntimeError("poisoned")
        logits: list[torch.Tensor] = self.real(rows)
        return logits

    async def running(self) -> None:
        """Until one more batch has come in."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE_S)

    async def hold_next(self) -> None:
        """Let the batch that is held go on, and return once the next one is in the forward, and held there."""
        gate, self.gate = self.gate, threading.Event()
        gate.set()
        await self.running()


@dataclass(slots=True, kw_only=True)
class Loads:
    """The store's own loads, by reference; those in `held` wait for `gate`."""

    registry: Registry
    references: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)

    def __call__(self, version: Version, came: Came) -> Weights:
        self.references.append(version.reference)
        if version.reference in self.held:
            assert self.gate.wait(PATIENCE_S)
        return StoreReader(self.registry, None)(version, came)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """An engine whose forward and loads a test controls."""

    home: Home
    engine: Engine
    forward: Forward
    loads: Loads
    metrics: Metrics
    model: Model  # its forward is the real one

    def ner(self, text: str, language: str | None = None) -> AskedRow:
        ids = self.home.loaded.tokenizer.row(self.home.loaded.tokenizer.encode(text))
        return AskedRow(
            input_ids=tuple(ids),
            positions=tuple(range(1, len(ids) - 1)),
            language=None if language is None else self.home.version(language),
            task=self.home.version("ner"),
            leave_out=(),
            readout=AllLogits(),
        )

    def fill(self, text: str, language: str | None = None) -> AskedRow:
        """One position, the first piece, is filled."""
        row = self.ner(text, language)
        return replace(row, task=None, positions=(1,), readout=Candidates(top_k=3))

    def submit(self, *rows: AskedRow, key: str = "", within_s: float = PATIENCE_S) -> "asyncio.Future[Done]":
        return self.engine.submit(rows, key=key, deadline_s=time.monotonic() + within_s)

    async def answer(self, *rows: AskedRow) -> Done:
        return await patiently(self.submit(*rows))


async def patiently(future: "asyncio.Future[Done]") -> Done:
    return await asyncio.wait_for(future, PATIENCE_S)


@asynccontextmanager
async def running_engine(
    home: Home,
    *,
    gated: bool = False,
    lanes: int = 1,
    adapter_bytes: int = 1 << 30,
    load_timeout_s: float = PATIENCE_S,
    **limits: Any,
) -> AsyncIterator[Rig]:
    """Starts with an open gate unless `gated`; stops the engine at the end, whatever the test did.

    With one of `lanes` batches run one after the other in the device thread, as they do on a GPU.
    """
    forward, metrics = Forward(), Metrics()
    if not gated:
        forward.gate.set()

    models: list[Model] = []

    def opened() -> Model:
        model = open_model(home.settings())
        models.append(model)
        forward.real = model.infer
        return replace(model, infer=forward, lanes=Lanes(lanes) if lanes > 1 else None)

    chosen: dict[str, Any] = {
        "queue_tokens": 4096,
        "queue_s": PATIENCE_S,
        "batch_tokens": 256,
        "batch_s": PATIENCE_S,
        "stuck_after_s": 60.0,
    }
    memory = Memory(device_bytes=adapter_bytes, host_bytes=0, loaders=2, fetches=4, load_timeout_s=load_timeout_s)
    with home.registry() as registry:
        loads = Loads(registry=registry)

        def open_residency(model: Model, wake: Callable[[], None]) -> Residency:
            return Residency(model=model, read=loads, limits=memory, wake=wake, metrics=metrics)

        engine = Engine(
            open_model=opened, open_residency=open_residency, limits=EngineLimits(**(chosen | limits)), metrics=metrics
        )
        await engine.start()
        forward.is_watched = True
        try:
            yield Rig(home=home, engine=engine, forward=forward, loads=loads, metrics=metrics, model=models[0])
        finally:
            forward.gate.set()
            loads.gate.set()
            await engine.stop()
