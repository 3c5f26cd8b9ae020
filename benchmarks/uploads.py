"""Memory of a server that takes eight weights files of 512 MB at once.

`python -m benchmarks.uploads --json FILE` starts `glossa serve` on a home of its own, with a large backbone in its
registry, warms it up with one prediction, and publishes eight versions at the same moment by multipart form. Meanwhile
it samples the private memory (USS) of the server and its gate's children every 50 ms.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import psutil

from madx.config import BackboneConfig, language_config
from madx.manifest import BackboneRef, Manifest, WeightsRef, to_bytes
from madx.shapes import adapter_shapes
from registry import catalog
from registry.registry import open_registry

from .figures import Absolute, Figure, write_figures

KEY = "upload_private_mib"
UPLOADS = 8
SAMPLE_S = 0.05
IDLE_S = 3.0
PATIENCE_S = 300
CHUNK_BYTES = 1 << 20
MIB = 1 << 20
FINGERPRINT = "f0" * 32
BOUNDARY = b"glossa-benchmark"
LARGE = BackboneConfig(
    family="xlm-roberta",
    hidden_size=2048,
    num_layers=30,
    num_heads=32,
    intermediate_size=8192,
    vocab_size=250_002,
    max_positions=514,
    type_vocab_size=1,
    position_offset=2,
    pad_token_id=1,
    layer_norm_eps=1e-5,
    activation="gelu",
)
"""Its language adapters with an invertible adapter have 512 MB as float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One form: the shared file, but for its last bytes, which are its own."""

    name: str
    manifest: bytes
    weights: Path
    tail: bytes

    @property
    def size_bytes(self) -> int:
        return self.weights.stat().st_size


@dataclass(slots=True, kw_only=True)
class Sampler:
    """Private bytes of a process and its descendants, in sum, from the moment it is started."""

    process: psutil.Process
    samples: list[int] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._stop.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            began_s = time.monotonic()
            self.samples.append(sum(map(_private_bytes, [self.process, *self.process.children(recursive=True)])))
            self._stop.wait(max(0.0, SAMPLE_S - (time.monotonic() - began_s)))


def _private_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0


def write_weights(path: Path) -> None:
    """A safetensors file with small random numbers, made block by block."""
    header: dict[str, object] = {}
    position = 0
    for name, shape in adapter_shapes(language_config(), None, LARGE).items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    content = json.dumps(header).encode()
    # Random bytes whose fourth is a small exponent: finite numbers, and nothing that compresses.
    block = bytearray(os.urandom(CHUNK_BYTES))
    block[3::4] = bytes([0x3C]) * (CHUNK_BYTES // 4)
    with path.open("wb") as file:
        file.write(len(content).to_bytes(8, "little") + content)
        for start in range(0, position, CHUNK_BYTES):
            file.write(block[: min(CHUNK_BYTES, position - start)])


def make_bodies(weights: Path, *, uploads: int, prefix: str) -> list[Body]:
    """Each differs in its last number, so that no two are one blob."""
    hasher = hashlib.sha256()
    size_bytes = weights.stat().st_size
    with weights.open("rb") as file:
        left = size_bytes - 4
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            hasher.update(chunk)
            left -= len(chunk)
    bodies = []
    for index in range(uploads):
        tail = struct.pack("<f", 1.0 + index)
        whole = hasher.copy()
        whole.update(tail)
        manifest = Manifest(
            kind="language",
            config=language_config(),
            language="sw",
            backbone=BackboneRef(name="large", fingerprint=FINGERPRINT),
            weights=WeightsRef(digest=whole.hexdigest(), size_bytes=size_bytes),
            method="benchmark",
            job=f"{prefix}-{index}",
        )
        name = f"{prefix}-{index}"
        bodies.append(Body(name=name, manifest=to_bytes(manifest), weights=weights, tail=tail))
    return bodies


def send(address: str, body: Body) -> int:
    """Publish `body`; the answer's status."""
    head = b'--%b\r\nContent-Disposition: form-data; name="manifest"\r\n\r\n%b\r\n' % (BOUNDARY, body.manifest)
    head += b'--%b\r\nContent-Disposition: form-data; name="weights"; filename="f"\r\n\r\n' % BOUNDARY
    tail = body.tail + b"\r\n--%b--\r\n" % BOUNDARY
    length = len(head) + body.size_bytes - len(body.tail) + len(tail)
    parts = urlsplit(address)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=PATIENCE_S) as connection:
        request = f"POST /v1/adapters/{body.name}/versions HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        request += (
            f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\nContent-Length: {length}\r\n\r\n"
        )
        connection.sendall(request.encode() + head)
        with body.weights.open("rb") as file:
            connection.sendfile(file, count=body.size_bytes - len(body.tail))
        connection.sendall(tail)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
    if not answer.startswith(b"HTTP/1.1 201"):
        print(answer.decode(errors="replace"), file=sys.stderr)
    return int(answer[9:12])


@contextmanager
def server(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`glossa serve` with the demo's backbone: its address and process."""
    registry = open_registry(home)
    catalog.add_backbone(registry, fingerprint=FINGERPRINT, name="large", config=LARGE, masked_lm=True)
    registry.close()
    command = [sys.executable, "-c", "from glossa.main import main; main()", "serve", "--port", "0"]
    environment: Mapping[str, str] = os.environ | {"GLOSSA_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            match = None
            while match is None:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError("the server did not start")
                match = re.search(r"at (http://\S+)", line)
            yield match[1], psutil.Process(process.pid)
        finally:
            process.terminate()


def warm_up(address: str) -> None:
    body = json.dumps({"inputs": "Amina Juma works in Nairobi."}).encode()
    request = urllib.request.Request(
        f"{address}/v1/predict/ner?language=sw", data=body, headers={"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=PATIENCE_S).read()


def measure(folder: Path, *, uploads: int) -> dict[str, Figure]:
    weights = folder / "weights.safetensors"
    write_weights(weights)
    bodies = make_bodies(weights, uploads=uploads, prefix=f"large-{secrets.token_hex(3)}")
    with server(folder / "home") as (address, process):
        warm_up(address)
        idle, busy = Sampler(process=process), Sampler(process=process)
        time.sleep(IDLE_S)
        with idle.running():
            time.sleep(IDLE_S)
        with busy.running(), ThreadPoolExecutor(uploads) as pool:
            began_s = time.monotonic()
            statuses = list(pool.map(lambda body: send(address, body), bodies))
            took_s = time.monotonic() - began_s
    if statuses != [201] * uploads:
        raise RuntimeError(f"not all were accepted: {statuses}")
    sent_mib = uploads * weights.stat().st_size / MIB
    at_rest = median(idle.samples)
    return {
        KEY: Absolute(value=round((max(busy.samples) - at_rest) / MIB, 1), unit="MiB"),
        "upload_idle_private_mib": Absolute(value=round(at_rest / MIB, 1), unit="MiB"),
        "upload_samples": Absolute(value=len(busy.samples), unit="samples"),
        "upload_s": Absolute(value=round(took_s, 1), unit="s"),
        "upload_mib_per_s": Absolute(value=round(sent_mib / took_s, 1), unit="MiB/s"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the figures are written")
    parser.add_argument("--uploads", type=int, default=UPLOADS, help="how many at once")
    parser.add_argument("--folder", type=Path, help="where the files go: 10 GB for a while; default: the system's")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="glossa-uploads-", dir=arguments.folder))
    try:
        figures = measure(folder, uploads=arguments.uploads)
    finally:
        shutil.rmtree(folder)
    for key, figure in figures.items():
        assert isinstance(figure, Absolute)
        print(f"{key}: {figure.value} {figure.unit}")
    write_figures(arguments.json, figures, dtype="float32", device="cpu")


if __name__ == "__main__":
    main()
