"""API keys in the registry: made, shown once, used, expired, revoked."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect, select, text

from registry import access
from registry.access import ROLES, Role
from registry.errors import InvalidCursor, InvalidKey, NoKey, NotAllowed, UnknownKey
from registry.models import AuditRow, KeyRow
from registry.pages import cursor_at
from registry.registry import Registry


def make(registry: Registry, role: Role = "write", pattern: str | None = None) -> tuple[access.Key, str]:
    return access.create_key(registry, name="newsroom", role=role, pattern=pattern, actor="amina")


def test_a_key_names_its_holder(empty_registry: Registry) -> None:
    key, shown = make(empty_registry)
    found = access.authenticate(empty_registry, shown)
    assert (found.id, found.name, found.role, found.created_by) == (key.id, "newsroom", "write", "amina")
    assert found.actor == f"newsroom (key {key.id})"


def test_only_the_digest_is_kept(empty_registry: Registry) -> None:
    _, shown = make(empty_registry)
    secret = shown.split("_", 2)[2]
    with empty_registry.database.reading() as session:
        digest = session.scalars(select(KeyRow.secret_digest)).one()
        for table in inspect(empty_registry.database.reader).get_table_names():
            rows = session.execute(text(f"SELECT * FROM {table}")).all()
            assert secret not in repr(rows)
    assert digest == hashlib.sha256(secret.encode()).hexdigest()


def test_two_keys_are_never_alike(empty_registry: Registry) -> None:
    texts = {make(empty_registry)[1] for _ in range(20)}
    assert len({shown.split("_")[1] for shown in texts}) == 20
    assert len({shown.split("_", 2)[2] for shown in texts}) == 20


@pytest.mark.parametrize(
    "change",
    [
        lambda shown: shown[:0],
        lambda shown: shown[:-1],
        lambda shown: shown + "A",
        lambda shown: shown[:-1] + ("A" if shown[-1] != "A" else "B"),
        lambda shown: shown.upper(),
        lambda shown: " " + shown,
        lambda shown: shown.replace("glossa", "other"),
        lambda shown: f"glossa_{'0' * 16}_{shown.split('_', 2)[2]}",
        lambda shown: shown + "\n",
        lambda shown: shown[:-1] + "\ud800",
    ],
)
def test_nothing_else_is_a_key(empty_registry: Registry, change: object) -> None:
    _, shown = make(empty_registry)
    with pytest.raises(NoKey) as caught:
        access.authenticate(empty_registry, change(shown))  # type: ignore[operator]
    assert str(caught.value) == "this needs a key that is valid; send it as Authorization: Bearer KEY"


def test_an_expired_key(empty_registry: Registry) -> None:
    key, shown = access.create_key(empty_registry, name="a", role="read", valid_for=timedelta(days=1))
    assert access.authenticate(empty_registry, shown).expires_at == key.expires_at
    with empty_registry.database.session() as session:
        session.get_one(KeyRow, key.id).expires_at = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(NoKey):
        access.authenticate(empty_registry, shown)
    assert not access.has_usable_key(empty_registry)


def test_a_revoked_key(empty_registry: Registry) -> None:
    key, shown = make(empty_registry)
    _, other = make(empty_registry)
    revoked = access.revoke_key(empty_registry, key.id, actor="juma")
    assert access.revoke_key(empty_registry, key.id) == revoked
    with pytest.raises(NoKey):
        access.authenticate(empty_registry, shown)
    access.authenticate(empty_registry, other)
    assert access.has_usable_key(empty_registry)
    with pytest.raises(UnknownKey):
        access.revoke_key(empty_registry, "0" * 16)


def test_when_it_was_used_last(empty_registry: Registry) -> None:
    key, _ = make(empty_registry)

    def used_last() -> datetime | None:
        return access.list_keys(empty_registry).items[0].last_used_at

    assert used_last() is None
    access.touch(empty_registry, key)
    first = used_last()
    assert first is not None
    access.touch(empty_registry, key)
    assert used_last() == first
    with empty_registry.database.session() as session:
        session.get_one(KeyRow, key.id).last_used_at = first - access.TOUCHED_EVERY
    access.touch(empty_registry, key)
    again = used_last()
    assert again is not None
    assert again >= first


def test_keys_are_listed_page_by_page(empty_registry: Registry) -> None:
    made = [make(empty_registry)[0].id for _ in range(5)]
    with empty_registry.database.session() as session:  # two of the same moment
        session.get_one(KeyRow, made[1]).created_at = session.get_one(KeyRow, made[2]).created_at
    walked: list[str] = []
    cursor = None
    while True:
        page = access.list_keys(empty_registry, limit=2, cursor=cursor)
        walked += [key.id for key in page.items]
        make(empty_registry)
        if (cursor := page.next_cursor) is None:
            break
    assert walked == [made[4], made[3], *sorted(made[1:3]), made[0]]
    assert len(access.list_keys(empty_registry).items) == 8
    for wrong in ("x", cursor_at(made[0], "others"), cursor_at(7, "keys")):
        with pytest.raises(InvalidCursor):
            access.list_keys(empty_registry, cursor=wrong)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"role": "owner"}, "role"),
        ({"role": "read", "pattern": "sw-*"}, "names"),
        ({"role": "admin", "pattern": "sw-*"}, "names"),
        ({"pattern": ""}, "names"),
        ({"pattern": "SW-*"}, "names"),
        ({"pattern": "../*"}, "names"),
        ({"valid_for": timedelta()}, "expires_in_days"),
        ({"valid_for": timedelta(days=-1)}, "expires_in_days"),
        ({"valid_for": timedelta(days=10**6)}, "expires_in_days"),
    ],
)
def test_keys_that_cannot_be_made(empty_registry: Registry, fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        access.create_key(empty_registry, **({"name": "a", "role": "write"} | fields))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert access.list_keys(empty_registry).items == ()


def test_each_role_may_what_lower_ones_may(empty_registry: Registry) -> None:
    for index, role in enumerate(ROLES):
        key, _ = make(empty_registry, role)
        assert [key.may(asked) for asked in ROLES] == [place <= index for place in range(len(ROLES))]


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("sw-*", "sw-tiny", True),
        ("sw-*", "sw-", True),
        ("sw-*", "sw", False),
        ("sw-*", "ha-sw-x", False),
        ("*-sw", "ner-sw", True),
        ("a*c*e", "abcde", True),
        ("a*c*e", "abde", False),
        ("a.c", "abc", False),
        ("*", "anything", True),
        ("a*" * 31 + "b", "a" * 64, False),  # which an expression that goes back tries in more ways than there is time
    ],
)
def test_patterns(empty_registry: Registry, pattern: str, name: str, fits: bool) -> None:
    key, _ = make(empty_registry, pattern=pattern)
    assert key.may_write(name) is fits
    if not fits:
        with pytest.raises(NotAllowed, match="this key writes adapters named"):
            access.check_may_write(key, name)


def test_what_is_done_to_keys_is_audited(empty_registry: Registry) -> None:
    key, _ = make(empty_registry, pattern="sw-*")
    access.revoke_key(empty_registry, key.id, actor="juma")
    with empty_registry.database.reading() as session:
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id)).all()
    assert [(row.actor, row.action, row.subject) for row in rows] == [
        ("amina", "key.created", key.id),
        ("juma", "key.revoked", key.id),
    ]
    assert rows[0].detail == {"name": "newsroom", "role": "write", "pattern": "sw-*"}
