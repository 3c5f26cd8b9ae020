"""Adapters that come and go under load, and stores that lie, lose or hang: through a server on a port of its own."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.servers.object_stores import ObjectServer
from registry import aliases, versions
from registry.registry import open_registry
from registry.values import Version
from tests.support import tiny
from tests.support.live import LiveServer, serving
from tests.support.served import PATIENCE_S, Home, make_home

pytestmark = pytest.mark.faults

TEXT = "Juma lives in Nairobi and works for Acme"
ASKERS = 6
Ask = Callable[[httpx.Client, str], httpx.Response]
Tags = list[tuple[str, float]]
"""Label and score of each word, of all texts one after the other."""

SCORES_WITHIN = 1e-4


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a request asked for, and what came of it."""

    reference: str
    status: int
    version: str
    tags: Tags


@dataclass(kw_only=True)
class Asked:
    """What came of many requests."""

    answers: list[Answered] = field(default_factory=list)

    def mixed_up(self, alone: dict[str, Tags]) -> list[Answered]:
        """Those that are not what exactly one version answers, or not the one that was asked for by its number."""
        return [
            answer
            for answer in self.answers
            if answer.version not in alone
            or not is_same(answer.tags, alone[answer.version])
            or (answer.reference in alone and answer.reference != answer.version)
        ]


@pytest.fixture(scope="module")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Five versions of `ner`, each with labels of its own."""
    home = make_home(tmp_path_factory.mktemp("faulty"))
    for number in range(2, 6):
        home.publish("ner", tiny.task_checkpoint(home.loaded, labels=labels_of(number), seed=10 * number))
    return home


@pytest.fixture
def home(made_home: Home, tmp_path: Path) -> Home:
    return made_home.copy(tmp_path / "home")


def labels_of(number: int) -> tuple[str, ...]:
    return ("O", *(f"{place}-V{number}{kind}" for kind in ("A", "B", "C") for place in ("B", "I")))


def ask(client: httpx.Client, adapter: str, language: str | None = None) -> httpx.Response:
    parameters: dict[str, Any] = {
        "adapter": adapter,
        "language_adapter": language,
        "aggregation_strategy": "none",
        "ignore_labels": [],
    }
    return client.post("/v1/predict/ner", json={"inputs": TEXT, "parameters": parameters})


def ask_in_two_languages(client: httpx.Client, adapter: str) -> httpx.Response:
    parameters = {
        "adapter": adapter,
        "language": ["sw", "en"],
        "aggregation_strategy": "none",
        "ignore_labels": [],
    }
    return client.post("/v1/predict/ner", json={"inputs": [TEXT, TEXT], "parameters": parameters})


def tags_in(answer: list[Any]) -> Tags:
    texts = answer if isinstance(answer[0], list) else [answer]
    return [(word["entity"], word["score"]) for text in texts for word in text]


def is_same(one: Tags, other: Tags) -> bool:
    """In which batch a text runs may change the last digits of a score."""
    return [label for label, _ in one] == [label for label, _ in other] and farthest(one, other) < SCORES_WITHIN


def farthest(one: Tags, other: Tags) -> float:
    return max(abs(first - second) for (_, first), (_, second) in zip(one, other, strict=True))


def blob_of(home: Home, version: Version) -> Path:
    digest = version.weights_digest
    return home.folder / "blobs" / digest[:2] / digest[2:]


@contextmanager
def asking(server: LiveServer, *adapters: str, ask: Ask = ask) -> Iterator[Asked]:
    """Many clients that ask all the time, while the block runs."""
    asked, stopped = Asked(), threading.Event()

    def loop(first: int) -> None:
        with httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
            turn = first
            while not stopped.is_set():
                reference = adapters[turn % len(adapters)]
                answer = ask(client, reference)
                asked.answers.append(
                    Answered(
                        reference=reference,
                        status=answer.status_code,
                        version=answer.headers.get("x-glossa-adapter", ""),
                        tags=tags_in(answer.json()) if answer.status_code == 200 else [],
                    )
                )
                turn += 1

    with ThreadPoolExecutor(ASKERS) as pool:
        loops = [pool.submit(loop, number) for number in range(ASKERS)]
        try:
            yield asked
        finally:
            stopped.set()
        for one in loops:
            one.result()


def expected(home: Home, ask: Ask = ask) -> dict[str, Tags]:
    """What each version answers alone, on a server with room for all."""
    with serving(home) as server, httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        alone = {f"ner@{number}": tags_in(ask(client, f"ner@{number}").json()) for number in range(1, 6)}
    least = min(farthest(one, other) for one, other in combinations(alone.values(), 2))
    assert least > 10 * SCORES_WITHIN, "weights that are mixed up must show, not the names of labels alone"
    return alone


def sizes_of(home: Home, *names: str) -> list[int]:
    """Bytes on the device."""
    with serving(home) as server, httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        return [int(client.post(f"/v1/adapters/{name}:load", json={}).json()["size_bytes"]) for name in names]


def test_slots_are_reused_under_load_and_every_answer_is_its_own_versions(home: Home) -> None:
    """Room for two of five versions: adapters are evicted and come back all the time."""
    alone = expected(home)
    (size_bytes,) = sizes_of(home, "ner")
    with serving(home, adapter_bytes=int(2.5 * size_bytes)) as server:
        with asking(server, *alone) as asked:
            until_s = time.monotonic() + PATIENCE_S
            while len(asked.answers) <= 10 * ASKERS:
                assert time.monotonic() < until_s
                time.sleep(0.02)
        metrics = httpx.get(f"{server.address}/metrics").text
    assert {answer.status for answer in asked.answers} == {200}
    assert asked.mixed_up(alone) == []
    evictions = next(line for line in metrics.splitlines() if line.startswith("glossa_evictions_total{"))
    assert float(evictions.split()[-1]) >= 3


@pytest.mark.parametrize("ask_under_load", [ask, ask_in_two_languages])
def test_an_alias_that_moves_under_load_fails_and_mixes_up_nothing(home: Home, ask_under_load: Ask) -> None:
    """Others evict what it stands for, and now and then it moves to a version whose weights are lost."""
    alone = expected(home, ask_under_load)
    lost = home.publish("ner", tiny.task_checkpoint(home.loaded, labels=labels_of(6), seed=60))
    blob_of(home, lost).unlink()
    with home.registry() as registry:
        aliases.move_alias(registry, "ner", "production", 1)
    ner, sw, en = sizes_of(home, "ner", "sw", "en")
    with serving(home, adapter_bytes=int(2.5 * ner) + sw + en) as server:
        other = open_registry(home.folder)
        with (
            asking(server, "ner@production", "ner", "ner@2", "ner@4", ask=ask_under_load) as asked,
            httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client,
        ):
            for turn, number in enumerate((2, 3, lost.number, 4, 5, lost.number, 1) * 3):
                if turn % 2:
                    aliases.move_alias(other, "ner", "production", number)
                else:
                    moved = client.put(
                        "/v1/adapters/ner/aliases/production", json={"version": number}, headers={"if-match": "*"}
                    )
                    assert moved.status_code == 200
                time.sleep(0.1)
            until_s = time.monotonic() + PATIENCE_S
            while ask(client, "ner@production").headers["x-glossa-adapter"] != "ner@1":
                assert time.monotonic() < until_s
                time.sleep(0.02)
        other.close()
    assert {answer.status for answer in asked.answers} == {200}
    assert asked.mixed_up(alone) == []
    assert len({answer.version for answer in asked.answers if answer.reference == "ner@production"}) >= 3


def test_the_old_version_answers_while_the_new_one_cannot_be_loaded(home: Home) -> None:
    with home.registry() as registry:
        aliases.move_alias(registry, "ner", "production", 1)
    version = version_numbered(home, 2)
    blob = blob_of(home, version)
    content = blob.read_bytes()
    blob.unlink()
    with serving(home) as server, httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        assert ask(client, "ner").headers["x-glossa-adapter"] == "ner@1"
        client.put("/v1/adapters/ner/aliases/production", json={"version": 2}, headers={"if-match": "*"})
        for _ in range(3):
            answer = ask(client, "ner")
            assert (answer.status_code, answer.headers["x-glossa-adapter"]) == (200, "ner@1")
        assert ask(client, "ner@2").status_code == 424, "what is named by its number is not redirected"
        form = {"manifest": (None, version.manifest_bytes), "weights": (None, content)}
        assert client.post("/v1/adapters/ner/versions", files=form).status_code == 200
        until_s = time.monotonic() + PATIENCE_S
        while (answer := ask(client, "ner")).headers["x-glossa-adapter"] != "ner@2":
            assert answer.status_code == 200
            assert time.monotonic() < until_s
            time.sleep(0.02)


def test_a_version_that_is_deleted_stops_answering_before_the_next_has_come(home: Home) -> None:
    with home.registry() as registry:
        aliases.move_alias(registry, "ner", "production", 1)
    blob_of(home, version_numbered(home, 2)).unlink()
    with serving(home) as server, httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        assert ask(client, "ner").headers["x-glossa-adapter"] == "ner@1"
        client.put("/v1/adapters/ner/aliases/production", json={"version": 2}, headers={"if-match": "*"})
        assert ask(client, "ner").headers["x-glossa-adapter"] == "ner@1"
        assert client.delete("/v1/adapters/ner/versions/1").status_code == 204
        assert ask(client, "ner").json()["code"] == "adapter_load_failed"


def test_a_damaged_blob_gives_424_and_never_an_answer(home: Home) -> None:
    blob = blob_of(home, version_numbered(home, 3))
    content = bytearray(blob.read_bytes())
    content[-10] ^= 1
    blob.write_bytes(content)
    with serving(home) as server, httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        for _ in range(3):
            answer = ask(client, "ner@3")
            assert (answer.status_code, answer.json()["code"]) == (424, "adapter_load_failed")
            assert int(answer.headers["retry-after"]) >= 1
            assert str(home.folder) not in answer.text
        assert ask(client, "ner@2").status_code == 200
        metrics = httpx.get(f"{server.address}/metrics").text
    assert 'glossa_adapter_loads_total{result="failed",source="none"} 1.0' in metrics
    assert 'glossa_adapter_lookups_total{found="failed"} 2.0' in metrics


def test_a_store_that_cannot_be_read_is_not_described_to_clients(home: Home) -> None:
    blob = blob_of(home, version_numbered(home, 3))
    blob.unlink()
    blob.mkdir()
    with serving(home) as server, httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        answer = ask(client, "ner@3")
    assert (answer.status_code, answer.json()["code"]) == (424, "adapter_load_failed")
    assert str(home.folder) not in answer.text
    assert "directory" not in answer.text


def test_a_store_that_hangs_costs_only_the_requests_that_need_it(home: Home) -> None:
    """Blobs that block whoever opens them; more of them than fetches may run at once."""
    hanging = [blob_of(home, version_numbered(home, number)) for number in (2, 3, 4)]
    for blob in hanging:
        blob.unlink()
        os.mkfifo(blob)
    try:
        with (
            serving(home, fetches=1, deadline_s=4.0, load_timeout_s=60.0) as server,
            ThreadPoolExecutor(4) as pool,
            httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client,
        ):
            assert ask(client, "ner@1").status_code == 200
            stuck = [pool.submit(ask, client, f"ner@{number}") for number in (2, 3, 4)]
            cold = pool.submit(ask, client, "ner@5", "en@1")
            for _ in range(10):
                assert ask(client, "ner@1").status_code == 200
                assert not any(one.done() for one in stuck)
            assert cold.result().status_code == 200
            for one in stuck:
                assert (one.result().status_code, one.result().json()["code"]) == (504, "deadline_exceeded")
            assert ask(client, "ner@1").status_code == 200
    finally:
        for blob in hanging:
            os.close(os.open(blob, os.O_RDWR | os.O_NONBLOCK))


def test_a_wrong_file_in_the_cache_of_a_distant_store_is_fetched_anew(
    home: Home, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    blob_url = object_server.fresh_url()
    near, distant = open_registry(home.folder), open_registry(home.folder, blob_url=blob_url)
    for blob in near.store.list():
        with near.store.open(blob.digest) as stream:
            distant.store.put(stream)
    near.close()
    distant.close()
    cache, digest = home.folder / "cache", version_numbered(home, 2).weights_digest
    cached = cache / digest[:2] / digest[2:]
    answers = []
    for damage in (None, b"x", b""):
        with serving(home, blob_url=blob_url) as server, httpx.Client(base_url=server.address) as client:
            if damage is not None:
                cached.write_bytes(damage)
            answers.append(ask(client, "ner@2").json())
            assert f"glossa_cache_corrupt_total {0.0 if damage is None else 1.0}" in client.get("/metrics").text
            tiers = {tier["tier"]: tier for tier in client.get("/v1/residency").json()["tiers"]}
        assert cached.stat().st_size == tiers["disk"]["used_bytes"] > 100
    assert answers[0] == answers[1] == answers[2]


def version_numbered(home: Home, number: int) -> Version:
    with home.registry() as registry:
        return versions.get_version(registry, "ner", number)
