"""`python -m tests.soak.churn --minutes 60`: adapters come and go at random under load, and memory stays flat.

Ends with status 1 where an answer is not its version's own, a request fails that should not, or memory grows.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import Any

import httpx
import psutil

from madx.config import task_config
from tests.support import tiny
from tests.support.served import Home, make_home

GLOSSA = Path(sys.executable).parent / "glossa"
VERSIONS = 24
FITTING = 6.5
ASKERS = 4
REDUCTION = 0.1  # makes large adapters for a tiny backbone, so that some that are not let go of show
SAMPLED_EVERY_S = 0.25
GROWTH_BYTES = 24 << 20
EVICTED_BYTES = 4 * GROWTH_BYTES
"""At least so much: had nothing of it been let go of, memory would have grown by about twice what is allowed."""

SCORES_WITHIN = 1e-4
LANGUAGES = (None, "sw", "en")
TEXT = "Juma lives in Nairobi and works for Acme"


Tags = list[tuple[str, float]]
"""Label and score of each word."""


@dataclass(kw_only=True)
class Churn:
    """What a run came to. `alone`: what each version answered with each language before others were asked beside it.
    `resident_bytes` of the server's process, in the order of time.
    """

    alone: dict[tuple[str, str | None], Tags] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)
    evictions: int = 0

    @property
    def growth_bytes(self) -> int:
        """From the second quarter, when all has been used once, to the last."""
        quarter = len(self.resident_bytes) // 4
        before, after = self.resident_bytes[quarter : 2 * quarter], self.resident_bytes[-quarter:]
        return int(statistics.median(after) - statistics.median(before))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glossa-churn-") as folder:
        churned = churn(Path(folder), seconds=60 * given.minutes, seed=given.seed)
    told = f"{dict(churned.asked)}, {churned.evictions} evictions, memory {churned.growth_bytes / 2**20:+.1f} MiB"
    sys.stdout.write("\n".join([told, *churned.faults[:20]]) + "\n")
    return 1 if churned.faults or churned.growth_bytes > GROWTH_BYTES else 0


def churn(folder: Path, *, seconds: float, seed: int) -> Churn:
    home = make_home(folder)
    for number in range(2, VERSIONS + 1):
        labels = ("O", *(f"{place}-V{number}" for place in ("B", "I")))
        config = task_config(reduction=REDUCTION)
        home.publish("ner", tiny.task_checkpoint(home.loaded, labels=labels, config=config, seed=number))
    size_bytes = home.version("ner").size_bytes
    churned, ended = Churn(), threading.Event()
    with serving(home, adapter_bytes=int(FITTING * size_bytes), log=folder / "serve.log") as (address, process):
        ask_alone(address, churned)
        with ThreadPoolExecutor(ASKERS + 1) as pool:
            users = [pool.submit(ask_on, address, ended, churned, seed + number) for number in range(ASKERS)]
            users.append(pool.submit(change_on, address, ended, churned, seed))
            try:
                watch(process, address, churned, seconds=seconds, evictions=EVICTED_BYTES // size_bytes)
            finally:
                ended.set()
            for user in users:
                user.result()
        churned.evictions = evictions_of(address)
    return churned


@contextmanager
def serving(home: Home, *, adapter_bytes: int, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    environment = {
        "GLOSSA_HOME": str(home.folder),
        "GLOSSA_ADAPTER_BYTES": str(adapter_bytes),
        "GLOSSA_DTYPE": "float32",  # so that a score does not depend on what runs in the same batch
        "GLOSSA_REQUESTS_PER_MINUTE": "0",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [GLOSSA, "serve", "--port", "0", "--backbone", home.backbone],
            stdout=subprocess.PIPE,
            stderr=output,
            env=os.environ | environment,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http" in line, f"{line}{log.read_text()}"
        yield line.partition(" at ")[2].split()[0], psutil.Process(process.pid)
        assert process.poll() is None, f"the server has ended: {log.read_text()[-2000:]}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def watch(process: psutil.Process, address: str, churned: Churn, *, seconds: float, evictions: int) -> None:
    """For `seconds`, and until so many adapters were evicted; that a slow machine needs longer is no fault."""
    began_s = time.monotonic()
    while (for_s := time.monotonic() - began_s) < seconds or evictions_of(address) < evictions:
        if for_s > 10 * seconds:
            churned.faults.append(
                f"{evictions_of(address)} evictions in {for_s:.0f} s; {evictions} are needed to judge"
            )
            return
        churned.resident_bytes.append(process.memory_info().rss)
        time.sleep(SAMPLED_EVERY_S)


def ask(client: httpx.Client, reference: str, language: str | None) -> httpx.Response:
    parameters: dict[str, Any] = {"adapter": reference, "language_adapter": language, "ignore_labels": []}
    parameters["aggregation_strategy"] = "none"
    return client.post("/v1/predict/ner", json={"inputs": TEXT, "parameters": parameters})


def tags_in(answer: httpx.Response) -> Tags:
    return [(word["entity"], word["score"]) for word in answer.json()]


def farthest(one: Tags, other: Tags) -> float:
    return max(abs(first - second) for (_, first), (_, second) in zip(one, other, strict=True))


def ask_alone(address: str, churned: Churn) -> None:
    with httpx.Client(base_url=address, timeout=60) as client:
        for number, language in product(range(1, VERSIONS + 1), LANGUAGES):
            reference = f"ner@{number}"
            churned.alone[reference, language] = tags_in(ask(client, reference, language).raise_for_status())
    least = min(farthest(one, other) for one, other in combinations(churned.alone.values(), 2))
    assert least > 10 * SCORES_WITHIN, f"answers of two stacks differ by {least} alone: a mix-up would not show"


def ask_on(address: str, ended: threading.Event, churned: Churn, seed: int) -> None:
    """Any version, with or without a language adapter. One that is deleted just now may be unknown."""
    chance = random.Random(seed)
    with httpx.Client(base_url=address, timeout=60) as client:
        while not ended.is_set():
            reference = "ner" if chance.random() < 0.2 else f"ner@{chance.randint(2, VERSIONS)}"
            language = chance.choice(LANGUAGES)
            answer = ask(client, reference, language)
            churned.asked[str(answer.status_code)] += 1
            fault = fault_of(answer, reference, language, churned)
            if fault is not None:
                churned.faults.append(fault)


def fault_of(answer: httpx.Response, reference: str, language: str | None, churned: Churn) -> str | None:
    if answer.status_code == 404 and answer.json()["code"] == "unknown_version" and reference != "ner":
        return None
    if answer.status_code != 200:
        return f"{reference}: {answer.status_code} {answer.text[:200]}"
    version = answer.headers["x-glossa-adapter"]
    if reference not in ("ner", version):
        return f"{reference} was answered by {version}"
    tags, alone = tags_in(answer), churned.alone[version, language]
    if [label for label, _ in tags] == [label for label, _ in alone] and farthest(tags, alone) < SCORES_WITHIN:
        return None
    return f"{version} with {language} answered {tags}, alone {alone}"


def change_on(address: str, ended: threading.Event, churned: Churn, seed: int) -> None:
    """Move the alias, delete versions, bring them back, load and pin them."""
    chance = random.Random(seed)
    with httpx.Client(base_url=address, timeout=60) as client:
        while not ended.wait(0.05):
            number = chance.randint(2, VERSIONS)
            match chance.randrange(5):
                case 0:
                    body, tag = {"version": number}, {"if-match": "*"}
                    if client.get("/v1/adapters/ner/aliases/production").status_code == 404:
                        tag = {"if-none-match": "*"}
                    answer = client.put("/v1/adapters/ner/aliases/production", json=body, headers=tag)
                case 1:
                    answer = client.delete(f"/v1/adapters/ner/versions/{number}")
                case 2 | 3:
                    answer = client.post(f"/v1/adapters/ner/versions/{number}/restore")
                case _:
                    answer = client.post(
                        "/v1/adapters/ner:load", json={"version": number, "pin": chance.random() < 0.1}
                    )
            churned.asked[f"change {answer.status_code}"] += 1
            if answer.status_code not in (200, 201, 204, 404, 409):
                churned.faults.append(f"a change: {answer.status_code} {answer.text[:200]}")


def evictions_of(address: str) -> int:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("glossa_evictions_total{"))


if __name__ == "__main__":
    sys.exit(main())
