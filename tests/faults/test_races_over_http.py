"""32 clients at once on a running server: one new name, and one alias that all move with the same If-Match."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from madx.loading import load_backbone
from registry.fsck import fsck
from tests.support.live import serving
from tests.support.made_adapters import made_adapter
from tests.support.places import Place
from tests.support.race_contract import WRITERS, at_once
from tests.support.served import Home
from tests.support.tiny import make_backbone

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROUNDS = 5
ALIAS = "/v1/adapters/sw/aliases/production"


@pytest.fixture
def clients(place: Place, tmp_path: Path) -> Iterator[list[httpx.Client]]:
    """As many as there are writers, of a server on the place's registry, with the made-up backbone in it."""
    with place.registry():
        pass
    backbone = make_backbone(tmp_path / "tiny")
    home = Home(folder=place.home, backbone=backbone, loaded=load_backbone(backbone))
    where = {"database_url": place.database_url, "blob_url": place.blob_url}
    with serving(home, uploads_at_once=WRITERS, **where) as server:
        opened = [httpx.Client(base_url=server.address, timeout=120) for _ in range(WRITERS)]
        yield opened
        for client in opened:
            client.close()


def publish(client: httpx.Client, seed: int) -> int:
    manifest, weights = made_adapter(seed=seed)
    answer = client.post("/v1/adapters/sw/versions", files={"manifest": (None, manifest), "weights": ("w", weights)})
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["version"]
    return number


def move(clients: list[httpx.Client], numbers: list[int], condition: dict[str, str], index: int) -> int:
    return clients[index].put(ALIAS, json={"version": numbers[index]}, headers=condition).status_code


def test_32_clients(clients: list[httpx.Client], place: Place) -> None:
    numbers = at_once(lambda index: publish(clients[index], seed=index))
    assert sorted(numbers) == list(range(1, WRITERS + 1))
    target, condition = 0, {"If-None-Match": "*"}
    for turn in range(ROUNDS):
        # Who asks for what is already so would get it without a move: the present target is nobody's.
        targets = [number if number != target else target % WRITERS + 1 for number in numbers]
        statuses = at_once(partial(move, clients, targets, condition))
        won = [index for index, status in enumerate(statuses) if status in (200, 201)]
        assert len(won) == 1
        assert statuses.count(412) == WRITERS - 1
        target = targets[won[0]]
        answer = clients[0].get(ALIAS)
        assert (answer.json()["version"], answer.json()["revision"]) == (target, turn + 1)
        condition = {"If-Match": answer.headers["etag"]}
    with place.registry() as registry:
        assert fsck(registry).findings == ()
