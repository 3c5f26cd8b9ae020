"""`/v1/residency` and `POST /v1/adapters/{name}:load`, and pins that follow their references."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from registry import aliases
from service.errors import InvalidSettings
from tests.support import tiny
from tests.support.served import PATIENCE_S, Home


def load(client: TestClient, name: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = client.post(f"/v1/adapters/{name}:load", json=body)
    return answer.status_code, answer.json()


def resident(client: TestClient, **query: Any) -> dict[str, dict[str, Any]]:
    return {item["reference"]: item for item in client.get("/v1/residency", params=query).json()["items"]}


def eventually(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_loading_answers_when_the_adapter_is_there(own_home: Home) -> None:
    with own_home.client() as client:
        assert resident(client) == {}
        status, item = load(client, "sw")
        assert (status, item["reference"], item["pinned"]) == (200, "sw@1", False)
        assert resident(client)["sw@1"]["size_bytes"] == item["size_bytes"] > 0
        device, host, disk = client.get("/v1/residency").json()["tiers"]
        assert (device["tier"], device["adapters"], device["used_bytes"]) == ("device", 1, item["size_bytes"])
        assert (host["limit_bytes"], disk["limit_bytes"]) == (0, 0), "a CPU and a folder need neither"


def test_a_pin_holds_until_it_is_taken_off(own_home: Home) -> None:
    size_bytes = own_home_sizes(own_home)
    with own_home.client(adapter_bytes=2 * max(size_bytes.values()) + 1) as client:
        assert load(client, "sw", pin=True)[1]["pinned"]
        for _ in range(2):
            load(client, "ner")
            load(client, "en")
        assert resident(client)["sw@1"]["pinned"]
        assert load(client, "sw")[1]["pinned"], "loading again leaves a pin as it is"
        assert not load(client, "sw", pin=False)[1]["pinned"]
        for name in ("en", "en", "ner"):  # en is wanted again, so that sw is no longer among the most wanted
            load(client, name)
        assert "sw@1" not in resident(client)


def own_home_sizes(home: Home) -> dict[str, int]:
    with home.client() as client:
        return {name: load(client, name)[1]["size_bytes"] for name in ("en", "sw", "ner")}


def test_pins_leave_half_of_the_memory_to_others(own_home: Home) -> None:
    sizes = own_home_sizes(own_home)
    with own_home.client(adapter_bytes=sizes["sw"] + sizes["en"]) as client:
        small, large = sorted(("sw", "en"), key=lambda name: sizes[name])
        assert load(client, small, pin=True)[0] == 200
        status, problem = load(client, large, pin=True)
        assert (status, problem["code"]) == (409, "pins_full")


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("nobody", {}, 404, "unknown_adapter"),
        ("sw", {"version": 9}, 404, "unknown_version"),
        ("sw", {"alias": "staging"}, 404, "unknown_alias"),
        ("sw", {"version": 1, "alias": "production"}, 422, "invalid"),
        ("sw", {"pinned": True}, 422, "invalid"),
        ("sw", {"alias": "No!"}, 422, "invalid_name"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    client: TestClient, name: str, body: dict[str, Any], status: int, code: str
) -> None:
    answered, problem = load(client, name, **body)
    assert (answered, problem["code"]) == (status, code)


def test_weights_that_are_lost_are_loaded_as_soon_as_they_are_published_again(own_home: Home) -> None:
    version = own_home.version("sw")
    blob = own_home.folder / "blobs" / version.weights_digest[:2] / version.weights_digest[2:]
    weights = blob.read_bytes()
    blob.unlink()
    with own_home.client() as client:
        status, problem = load(client, "sw")
        assert (status, problem["code"]) == (424, "adapter_load_failed")
        assert "publish them again" in problem["detail"]
        assert load(client, "sw")[0] == 424
        form = {"manifest": (None, version.manifest_bytes), "weights": (None, weights)}
        assert client.post("/v1/adapters/sw/versions", files=form).status_code == 200
        assert load(client, "sw")[0] == 200


def test_what_is_loaded_is_listed_page_by_page(own_home: Home) -> None:
    with own_home.client() as client:
        for name in ("sw", "en", "ner"):
            load(client, name)
        seen, cursor = [], None
        while True:
            page = client.get("/v1/residency", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            seen += [item["reference"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == ["en@1", "ner@1", "sw@1"]


def test_pinned_references_are_there_from_the_start_and_follow_their_moves(own_home: Home) -> None:
    own_home.publish("sw", tiny.language_checkpoint(own_home.loaded, "sw", seed=11))
    with own_home.registry() as registry:
        aliases.move_alias(registry, "sw", "production", 1)
    with own_home.client(pinned="sw, ner@1") as client:
        eventually(lambda: {name for name, item in resident(client).items() if item["pinned"]} == {"sw@1", "ner@1"})
        assert load(client, "ner", pin=False)[1]["pinned"], "what the settings pin, a request does not take off"
        client.put("/v1/adapters/sw/aliases/production", json={"version": 2}, headers={"if-match": "*"})
        eventually(lambda: {name for name, item in resident(client).items() if item["pinned"]} == {"sw@2", "ner@1"})


def test_what_is_no_reference_cannot_be_pinned(own_home: Home) -> None:
    with pytest.raises(InvalidSettings, match="GLOSSA_PINNED"), own_home.client(pinned="sw@@"):
        pass
