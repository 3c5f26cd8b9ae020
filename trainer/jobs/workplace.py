"""What every job works with, and the folder in which one run lives until its adapter is published.

The folder's name holds a digest of all that decides the result, so the same request finds its own run again, and
another request never does.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from madx.backbone import Backbone
from madx.loading import LoadedBackbone
from registry import catalog
from registry.datasets.locate import LocatedFile
from registry.durable import write_file
from registry.errors import NotFound
from registry.references import AdapterRef
from registry.registry import Registry
from registry.values import Version

from .. import checkpoints
from ..data import DataPlaces
from ..errors import RunBusy

RESULT_FILE = "result.json"
_FORMAT = "glossa-run/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """`runs` is the folder of all run folders; the backbone must be float32."""

    loaded: LoadedBackbone
    registry: Registry
    data: DataPlaces
    runs: Path


def run_folder(place: Workplace, name: str, spec: object, files: tuple[LocatedFile, ...], *more: str) -> Path:
    """`spec` is a frozen dataclass; `more` are digests of whatever else decides the result."""
    decides = {
        "format": _FORMAT,
        "spec": asdict(spec),  # type: ignore[call-overload]
        "backbone": place.loaded.fingerprint,
        "files": [file.sha256 for file in files],
        "more": more,
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return place.runs / f"{name}-{digest[:12]}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder. The kernel lifts the lock of a killed process. Raises `RunBusy`."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise RunBusy(f"another process is working on this very run in {folder}; wait for it or stop it") from error


def finished_version(place: Workplace, folder: Path) -> Version | None:
    """The version that this run has published, if the registry still has it."""
    try:
        written = json.loads((folder / RESULT_FILE).read_bytes())
        reference = AdapterRef(name=str(written["name"]), number=int(written["number"]))
        version = catalog.resolve(place.registry, reference)
    except (FileNotFoundError, NotFound):
        return None
    return version if version.manifest_digest == written["manifest"] else None


@contextmanager
def training_dropout(backbone: Backbone, probability: float) -> Iterator[None]:
    """The shared, frozen backbone drops out while a job steps, and is handed back as it was loaded."""
    backbone.set_dropout(probability)
    try:
        yield
    finally:
        backbone.set_dropout(0.0)
        backbone.eval()


def once(place: Workplace, folder: Path, work: Callable[[], Version]) -> Version:
    """Run `work` in its folder unless that run is finished already, and remember what it published."""
    with locked(folder):
        version = finished_version(place, folder)
        if version is None:
            version = work()
            result = {"name": version.name, "number": version.number, "manifest": version.manifest_digest}
            write_file(folder / RESULT_FILE, json.dumps(result, indent=2).encode() + b"\n")
            checkpoints.clear(folder)
        return version
