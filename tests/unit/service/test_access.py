"""Keys over HTTP: every route asks for its role, and tells nothing to who has none."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.testclient import TestClient

from registry import access, catalog
from registry.access import ROLES, Role
from service.access import role_of
from service.app import create_app
from tests.support import tiny
from tests.support.served import Home

OPEN = {
    "/health/live",
    "/health/ready",
    "/v2/health/live",
    "/v2/health/ready",
    "/openapi.json",
    "/docs",
    "/docs/oauth2-redirect",
    "/static-offline-docs",
}


def routes_of(app: FastAPI) -> list[RouteContext]:
    return list(iter_route_contexts(app.routes))


def asked_of(route: RouteContext) -> Role | None:
    """What is no route of FastAPI's cannot ask for a role."""
    return role_of(route.dependant) if isinstance(route.original_route, APIRoute) else None


def key(home: Home, role: Role, pattern: str | None = None) -> dict[str, str]:
    with home.registry() as registry:
        _, shown = access.create_key(registry, name=f"a {role} key", role=role, pattern=pattern)
    return {"authorization": f"Bearer {shown}"}


@pytest.fixture
def keyed(home: Home, tmp_path: Path) -> Home:
    """A home of the test's own, for keys are written to it."""
    return home.copy(tmp_path / "home")


@pytest.fixture
def client(keyed: Home) -> Iterator[TestClient]:
    with keyed.client(keys="required") as client:
        yield client


def test_every_route_asks_for_a_role_but_the_open_ones(home: Home) -> None:
    routes = routes_of(create_app(home.settings()))
    assert {route.path for route in routes if asked_of(route) is None} == OPEN
    assert {asked_of(route) for route in routes} == {None, *ROLES}


def test_no_body_is_read_before_the_key(client: TestClient, keyed: Home) -> None:
    """Nor parsed: what is no JSON is no news to who has no key, and too much of it no work."""
    for route in routes_of(create_app(keyed.settings())):
        for method in {"POST", "PUT", "PATCH"} & (route.methods or set()):
            path = re.sub(r"{[^}]*}", "none", route.path or "")
            for body in (b"{", b" " * (9 << 20)):
                answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
                assert answer.status_code == 401, (method, path)


def test_role_by_route(keyed: Home, client: TestClient) -> None:
    """Each route with each role and with none. What comes after the door (404, 422, ...) is other tests' business."""
    keys = {role: key(keyed, role) for role in ROLES}
    for route in routes_of(create_app(keyed.settings())):
        asked = asked_of(route)
        if asked is None:
            continue
        path = re.sub(r"{[^}]*}", "none", route.path or "")
        for method in route.methods or ():
            refused = client.request(method, path)
            assert refused.status_code == 401, (method, path)
            assert refused.headers["www-authenticate"] == "Bearer"
            for role in ROLES:
                status = client.request(method, path, headers=keys[role]).status_code
                assert (status == 403) == (ROLES.index(role) < ROLES.index(asked)), (method, path, role, status)
                assert status != 401


def test_open_routes_need_no_key(client: TestClient) -> None:
    for path in OPEN - {"/static-offline-docs"}:
        assert client.get(path).status_code == 200, path


def test_every_bad_key_gets_the_same_answer(keyed: Home, client: TestClient) -> None:
    good = key(keyed, "admin")["authorization"].removeprefix("Bearer ")
    with keyed.registry() as registry:
        gone, revoked = access.create_key(registry, name="gone", role="admin")
        access.revoke_key(registry, gone.id)
    answers = set()
    for text in ("x", good[:-1], f"glossa_{'0' * 16}_{good.split('_', 2)[2]}", revoked, "ä" * 20):
        answer = client.get("/v1/keys", headers=[(b"authorization", f"Bearer {text}".encode())])
        assert answer.status_code == 401
        answers.add(answer.text)
    assert len(answers) == 1
    assert client.get("/v1/keys", headers={"authorization": f"Basic {good}"}).status_code == 401
    assert client.get("/v1/keys", params={"api_key": good}).status_code == 401
    assert client.get("/v1/keys", headers={"authorization": f"bearer {good}"}).status_code == 200


def test_a_key_is_made_listed_used_and_revoked(keyed: Home, client: TestClient) -> None:
    admin = key(keyed, "admin")
    made = client.post("/v1/keys", headers=admin, json={"name": "paper", "role": "read", "expires_in_days": 2})
    assert made.status_code == 201, made.text
    shown = made.json()["key"]
    reader = {"authorization": f"Bearer {shown}"}
    assert client.get("/v1/tasks", headers=reader).status_code == 200
    listed = client.get("/v1/keys", headers=admin)
    assert shown.split("_", 2)[2] not in listed.text
    assert [item["name"] for item in listed.json()["items"]] == ["paper", "a admin key"]
    assert client.delete(f"/v1/keys/{made.json()['id']}", headers=admin).status_code == 204
    assert client.get("/v1/tasks", headers=reader).status_code == 401
    assert client.delete("/v1/keys/none", headers=admin).json()["code"] == "unknown_key"
    with keyed.registry() as registry:
        by = {made.name: made.created_by for made in access.list_keys(registry).items}
    assert by["a admin key"] == "local"
    assert re.fullmatch(r"a admin key \(key [0-9a-f]{16}\)", by["paper"])


def test_a_key_that_another_process_revokes_ends_with_the_next_look_at_the_registry(
    keyed: Home, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.access.REMEMBERED_S", 3_600.0)
    reader = key(keyed, "read")
    assert client.get("/v1/tasks", headers=reader).status_code == 200
    with keyed.registry() as registry:
        (made,) = access.list_keys(registry).items
        access.revoke_key(registry, made.id)
    client.app.state.server.watcher.look()  # type: ignore[attr-defined]
    assert client.get("/v1/tasks", headers=reader).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "", "role": "read"}, "name"),
        ({"name": "a", "role": "owner"}, "role"),
        ({"name": "a"}, "role"),
        ({"name": "a", "role": "read", "names": "sw-*"}, "names"),
        ({"name": "a", "role": "read", "expires_in_days": -1}, "expires_in_days"),
        ({"name": "a", "role": "read", "secret": "mine"}, "secret"),
    ],
)
def test_bad_key_requests(keyed: Home, client: TestClient, body: dict[str, object], field: str) -> None:
    refused = client.post("/v1/keys", headers=key(keyed, "admin"), json=body)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "invalid", field)


def test_a_key_is_never_given_again(keyed: Home, client: TestClient) -> None:
    headers = key(keyed, "admin") | {"idempotency-key": "1"}
    assert client.post("/v1/keys", headers=headers, json={"name": "a", "role": "read"}).status_code == 422


WRITES: dict[tuple[str, str], tuple[str, dict[str, object]]] = {
    ("POST", "/v1/adapters/{name}/versions"): ("/v1/adapters/NAME/versions", {}),
    ("DELETE", "/v1/adapters/{name}/versions/{version}"): ("/v1/adapters/NAME/versions/1", {}),
    ("POST", "/v1/adapters/{name}/versions/{version}/restore"): ("/v1/adapters/NAME/versions/1/restore", {}),
    ("POST", "/v1/adapters/{name}/versions/{version}/evaluations"): (
        "/v1/adapters/NAME/versions/1/evaluations",
        {"metric": "entity-f1", "score": 0.5, "dataset": "made", "split": "test"},
    ),
    ("PUT", "/v1/adapters/{name}/aliases/{alias}"): ("/v1/adapters/NAME/aliases/canary", {"version": 1}),
    ("DELETE", "/v1/adapters/{name}/aliases/{alias}"): ("/v1/adapters/NAME/aliases/canary", {}),
    ("POST", "/v1/adapters/{name}:load"): ("/v1/adapters/NAME:load", {"version": 1, "pin": True}),
    ("PUT", "/v1/defaults/{kind}/{key}"): ("/v1/defaults/language/en", {"reference": "NAME"}),
}
"""Each write on a name, with a body that it takes."""

NAMELESS = {
    ("DELETE", "/v1/defaults/{kind}/{key}"),  # on the name that is the default, below
    ("POST", "/v1/uploads"),
    ("GET", "/v1/uploads/{upload}"),
    ("PATCH", "/v1/uploads/{upload}"),
    ("PUT", "/v1/uploads/{upload}"),
    ("DELETE", "/v1/uploads/{upload}"),
}


def test_all_writes_are_known(home: Home) -> None:
    routes = routes_of(create_app(home.settings()))
    written = {(method, route.path) for route in routes for method in route.methods or () if asked_of(route) == "write"}
    assert written == set(WRITES) | NAMELESS


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_pattern_limits_what_is_written(keyed: Home, client: TestClient, method: str, path: str) -> None:
    address, body = WRITES[method, path]

    def send(name: str, headers: dict[str, str]) -> tuple[int, str]:
        content = {member: name if value == "NAME" else value for member, value in body.items()}
        answer = client.request(method, address.replace("NAME", name), headers=headers, json=content or None)
        return answer.status_code, answer.text

    writer = key(keyed, "write", "sw*")
    status, refusal = send("en", writer)
    assert status == 403
    assert '"not_allowed"' in refusal
    assert "sw*" in refusal
    assert send("sw", writer)[0] not in (401, 403)
    assert send("en", key(keyed, "write"))[0] not in (401, 403)


def test_a_pattern_limits_which_default_is_cleared(keyed: Home, client: TestClient) -> None:
    anyone = key(keyed, "write")
    client.put("/v1/defaults/language/en", headers=anyone, json={"reference": "en"}).raise_for_status()
    assert client.delete("/v1/defaults/language/en", headers=key(keyed, "write", "sw*")).status_code == 403
    assert client.delete("/v1/defaults/language/en", headers=key(keyed, "write", "e*")).status_code == 204


def test_nothing_that_is_kept_has_a_key(keyed: Home, client: TestClient) -> None:
    """Neither the database, its write-ahead log nor any other file of the home."""
    admin = key(keyed, "admin")
    made = client.post("/v1/keys", headers=admin, json={"name": "paper", "role": "write"}).json()["key"]
    writer = {"authorization": f"Bearer {made}"}
    assert client.post("/v1/uploads", headers=writer | {"idempotency-key": "1"}, json={}).status_code == 201
    secrets = [text.split("_", 2)[2].encode() for text in (made, admin["authorization"])]
    files = [path for path in keyed.folder.rglob("*") if path.is_file()]
    assert any(b"paper" in path.read_bytes() for path in files)
    assert [path for path in files for secret in secrets if secret in path.read_bytes()] == []


def test_a_key_has_so_many_requests_in_a_minute(keyed: Home) -> None:
    with keyed.client(keys="required", requests_per_minute=3) as client:
        mine, other = key(keyed, "read"), key(keyed, "read")
        answers = [client.get("/v1/tasks", headers=mine) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert client.get("/v1/tasks", headers=other).status_code == 200


def test_auto_asks_for_keys_where_nobody_says_what_it_is_bound_to(keyed: Home) -> None:
    with keyed.client(keys="auto") as client:
        assert client.get("/v1/tasks").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8000"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "127.0.0.2:8000"}, 200),
        ({"host": "192.168.1.7:8000"}, 403),
        ({"host": ""}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "[broken"}, 403),
        ({"host": "localhost", "origin": "http://localhost:3000"}, 200),
        ({"host": "localhost", "origin": "https://evil.example"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
    ],
)
def test_pages_from_elsewhere_do_not_reach_a_server_without_keys(
    keyed: Home, headers: dict[str, str], status: int
) -> None:
    with keyed.client(keys="loopback") as client:
        assert client.get("/v1/tasks", headers=headers).status_code == status


def test_off_asks_nobody_anything(keyed: Home) -> None:
    with keyed.client(keys="off") as client:
        assert client.get("/v1/tasks", headers={"host": "evil.example", "origin": "null"}).status_code == 200


def test_use_is_written_down_beside_the_request(keyed: Home) -> None:
    mine = key(keyed, "read")
    with keyed.client(keys="required") as client:
        for _ in range(3):
            client.get("/v1/tasks", headers=mine)
    with keyed.registry() as registry:
        [found] = access.list_keys(registry).items
    assert found.last_used_at is not None


def test_the_audit_says_who_did_what(keyed: Home, client: TestClient) -> None:
    admin = key(keyed, "admin")
    made = client.post("/v1/keys", headers=admin, json={"name": "paper", "role": "read"}).json()
    client.delete(f"/v1/keys/{made['id']}", headers=admin)
    about = client.get("/v1/audit", headers=admin, params={"subject": made["id"]}).json()
    assert [item["action"] for item in about["items"]] == ["key.revoked", "key.created"]
    assert len({item["actor"] for item in about["items"]}) == 1
    first = client.get("/v1/audit", headers=admin, params={"limit": 1}).json()
    second = client.get("/v1/audit", headers=admin, params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [first["items"][0], second["items"][0]] == about["items"]
    by = client.get("/v1/audit", headers=admin, params={"actor": about["items"][0]["actor"]}).json()
    assert by["items"] == about["items"]
    assert made["key"].split("_", 2)[2] not in client.get("/v1/audit", headers=admin).text


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"limit": "many"}, {"cursor": "x"}])
@pytest.mark.parametrize("path", ["/v1/keys", "/v1/audit"])
def test_bad_pages(keyed: Home, client: TestClient, path: str, query: dict[str, object]) -> None:
    refused = client.get(path, headers=key(keyed, "admin"), params=query)  # type: ignore[arg-type]
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "invalid", *query)


def test_no_key_is_ever_logged(keyed: Home, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown = key(keyed, "write")
    client.get("/v1/tasks", headers=shown)
    client.get("/v1/keys", headers=shown)
    client.get("/v1/tasks", headers={"authorization": "Bearer glossa_wrong"})
    assert shown["authorization"].split("_", 2)[2] not in caplog.text
    assert "glossa_wrong" not in caplog.text


def test_a_key_with_a_pattern_replaces_only_its_own_defaults(keyed: Home, client: TestClient) -> None:
    keyed.publish("sw-b", tiny.language_checkpoint(keyed.loaded, "sw", seed=9))
    mine, everything = key(keyed, "write", "sw-*"), key(keyed, "write")
    default = "/v1/defaults/language/sw"
    assert client.put(default, headers=everything, json={"reference": "sw"}).status_code == 200
    for refused in (
        client.put(default, headers=mine, json={"reference": "sw-b"}),
        client.delete(default, headers=mine),
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    with keyed.registry() as registry:
        set_to = catalog.get_default(registry, kind="language", key="sw", fingerprint=keyed.loaded.fingerprint)
    assert set_to is not None
    assert set_to.name == "sw"
    assert client.delete(default, headers=everything).status_code == 204
    assert client.put(default, headers=mine, json={"reference": "sw-b"}).status_code == 200
    assert client.delete(default, headers=mine).status_code == 204
