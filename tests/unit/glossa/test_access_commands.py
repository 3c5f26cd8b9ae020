"""`glossa keys` and `glossa audit`, here and on a server, and when `glossa serve` wants keys."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry import access
from registry.models import KeyRow
from registry.registry import open_registry
from service.settings import read_settings
from tests.support.listening import listening

Glossa = Any
KEY = re.compile(r"glossa_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\n")


@pytest.fixture(params=["here", "server"])
def on(request: pytest.FixtureRequest, glossa: Glossa, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Glossa]:
    """`glossa`, which works on the registry of `home`: itself, or through a server with the one key `root`."""
    if request.param == "here":
        yield glossa
        return
    monkeypatch.setenv("GLOSSA_API_KEY", glossa("keys", "create", "root", "--role", "admin").out.strip())
    with listening(read_settings(keys="required")) as listener:
        monkeypatch.setenv("GLOSSA_SERVER", listener.address)
        yield glossa


def listed(on: Glossa, *arguments: str) -> Any:
    finished = on(*arguments, "--json")
    assert finished.status == 0, finished.err
    return json.loads(finished.out)


def test_a_key_from_its_making_to_its_end(on: Glossa, home: Path) -> None:
    made = on("keys", "create", "newsroom", "--role", "write", "--names", "sw-*", "--days", "7")
    assert made.status == 0, made.err
    assert KEY.fullmatch(made.out)
    secret = made.out.strip().split("_", 2)[2]
    assert secret not in made.err
    newest = listed(on, "keys", "list")[0]
    assert (newest["name"], newest["role"], newest["names"]) == ("newsroom", "write", "sw-*")
    lasts = datetime.fromisoformat(newest["expires_at"]) - datetime.fromisoformat(newest["created_at"])
    assert lasts == timedelta(days=7)
    shown = on("keys", "list").out
    assert newest["id"] in shown
    assert "until" in shown
    assert on("keys", "revoke", newest["id"]).out == f"revoked {newest['id']}\n"
    assert "revoked" in on("keys", "list").out
    entries = listed(on, "audit", "--subject", newest["id"])
    assert [entry["action"] for entry in entries] == ["key.revoked", "key.created"]
    assert listed(on, "audit", "--limit", "1") == entries[:1]
    assert entries[0] in listed(on, "audit", "--actor", entries[0]["actor"])
    for printed in (shown, on("keys", "list", "--json").out, on("audit").out, on("audit", "--json").out):
        assert secret not in printed


def test_the_audit_is_a_table_for_people(on: Glossa) -> None:
    key_id = on("keys", "create", "newsroom", "--role", "read").out.split("_")[1]
    first, *lines = on("audit").out.splitlines()
    assert first.split() == ["when", "who", "did", "to", "from", "to", "digest"]
    assert re.search(rf"  key\.created +{key_id}  .*  name=newsroom role=read$", lines[0])


def test_json_has_the_key_once(on: Glossa) -> None:
    made = json.loads(on("keys", "create", "newsroom", "--role", "read", "--json").out)
    assert KEY.fullmatch(made["key"] + "\n")
    [found] = [item for item in listed(on, "keys", "list") if item["id"] == made["id"]]
    assert found == {name: value for name, value in made.items() if name != "key"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "create", "", "--role", "read"), "printable characters"),
        (("keys", "create", "a", "--role", "read", "--names", "sw-*"), "role write"),
        (("keys", "create", "a", "--role", "write", "--names", "SW"), "no pattern"),
        (("keys", "revoke", "0" * 16), "no key"),
    ],
)
def test_what_cannot_be_done_is_said_alike(on: Glossa, arguments: tuple[str, ...], said: str) -> None:
    finished = on(*arguments)
    assert (finished.status, finished.out) == (1, "")
    assert said in finished.err
    assert len(finished.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("create", "a"), ("create", "a", "--role", "owner"), ("create", "a", "--role", "read", "--days", "0")]
)
def test_wrong_command_lines(glossa: Glossa, arguments: tuple[str, ...]) -> None:
    assert glossa("keys", *arguments).status == 2


def test_an_empty_registry(glossa: Glossa) -> None:
    assert glossa("keys", "list").out == "no keys; make one with `glossa keys create NAME --role write`\n"
    assert glossa("audit").out == "nothing that fits\n"


def test_a_server_refuses_who_has_no_key_and_who_may_not(
    glossa: Glossa, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = glossa("keys", "create", "newsroom", "--role", "write").out.strip()
    with listening(read_settings(keys="required")) as listener:
        refused = glossa("keys", "list", "--server", listener.address)
        assert (refused.status, "a key" in refused.err) == (1, True)
        monkeypatch.setenv("GLOSSA_API_KEY", writer)
        refused = glossa("audit", "--server", listener.address)
        assert (refused.status, "of the role admin" in refused.err) == (1, True)
        assert writer not in refused.err


def test_expired_keys_are_shown_as_such(glossa: Glossa, home: Path) -> None:
    glossa("keys", "create", "old", "--role", "read")
    registry = open_registry(home)
    try:
        with registry.database.session() as session:
            [key] = access.list_keys(registry).items
            session.get_one(KeyRow, key.id).expires_at = datetime.now(UTC) - timedelta(hours=1)
    finally:
        registry.close()
    assert "expired" in glossa("keys", "list").out


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "server.example"])
def test_a_server_for_others_does_not_start_without_a_key(glossa: Glossa, host: str) -> None:
    refused = glossa("serve", "--host", host)
    assert (refused.status, refused.out) == (1, "")
    assert "glossa keys create" in refused.err
    assert "--keys off" in refused.err


def test_revoked_keys_do_not_count(glossa: Glossa) -> None:
    key_id = glossa("keys", "create", "a", "--role", "read").out.split("_")[1]
    glossa("keys", "revoke", key_id)
    assert "glossa keys create" in glossa("serve", "--host", "0.0.0.0").err


def test_loopback_is_not_believed_of_another_address(glossa: Glossa) -> None:
    refused = glossa("serve", "--host", "0.0.0.0", "--keys", "loopback")
    assert (refused.status, "others may reach 0.0.0.0" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("asked", "host", "mode"),
    [
        ("auto", "127.0.0.1", "loopback"),
        ("auto", "127.8.8.8", "loopback"),
        ("auto", "localhost", "loopback"),
        ("auto", "::1", "loopback"),
        ("auto", "0.0.0.0", "required"),
        ("auto", "::", "required"),
        ("auto", "", "required"),
        ("auto", "localhost.example", "required"),
        ("required", "127.0.0.1", "required"),
        ("off", "0.0.0.0", "off"),
    ],
)
def test_what_is_asked_for_where(home: Path, asked: str, host: str, mode: str) -> None:
    from glossa.serving import with_keys

    assert with_keys(read_settings(keys=asked), host).keys == mode
