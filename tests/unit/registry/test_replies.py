"""Idempotency keys: one answer for each, given again; another request under the key is refused."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from registry import replies
from registry.errors import IdempotencyMismatch, InProgress
from registry.models import ReplyRow
from registry.registry import Registry
from registry.replies import Claim, Reply

REPLY = Reply(status=201, body='{"name":"sw"}', headers={"location": "/v1/adapters/sw/versions/1"})


def claimed(registry: Registry, request: str = "a" * 64, actor: str = "ana") -> Claim | Reply:
    return replies.claim(registry, actor=actor, key="k-1", request_digest=request)


def won(registry: Registry) -> Claim:
    held = claimed(registry)
    assert isinstance(held, Claim)
    return held


def outdate(registry: Registry) -> None:
    with registry.database.session() as session:
        session.execute(update(ReplyRow).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))


def test_an_answer_is_given_again(registry: Registry) -> None:
    replies.keep(registry, won(registry), REPLY)
    assert claimed(registry) == REPLY
    assert claimed(registry) == REPLY


def test_another_request_under_the_key_is_refused(registry: Registry) -> None:
    held = won(registry)
    with pytest.raises(IdempotencyMismatch):
        claimed(registry, "b" * 64)
    replies.keep(registry, held, REPLY)
    with pytest.raises(IdempotencyMismatch):
        claimed(registry, "b" * 64)


def test_another_actor_has_its_own_keys(registry: Registry) -> None:
    replies.keep(registry, won(registry), REPLY)
    assert isinstance(claimed(registry, "b" * 64, actor="ben"), Claim)


def test_while_the_first_runs_the_second_waits(registry: Registry) -> None:
    held = won(registry)
    with pytest.raises(InProgress):
        claimed(registry)
    replies.give_up(registry, held)
    assert isinstance(claimed(registry), Claim)


def test_a_claim_whose_server_died_is_taken_over(registry: Registry) -> None:
    """And the first, should it still live, neither overwrites nor removes what the second one finds."""
    dead = won(registry)
    outdate(registry)
    second = won(registry)
    replies.keep(registry, dead, Reply(status=200, body="{}"))
    replies.give_up(registry, dead)
    assert replies.renew(registry, dead) == dead
    with pytest.raises(InProgress):
        claimed(registry)
    replies.keep(registry, second, REPLY)
    assert claimed(registry) == REPLY


def test_a_renewed_claim_is_the_same_one(registry: Registry) -> None:
    held = replies.renew(registry, won(registry))
    replies.keep(registry, held, REPLY)
    assert claimed(registry) == REPLY


def test_an_answer_is_forgotten_after_its_time(registry: Registry) -> None:
    replies.keep(registry, won(registry), REPLY)
    assert replies.expire_replies(registry, datetime.now(UTC)) == 0
    later = datetime.now(UTC) + replies.LIFE + timedelta(seconds=1)
    assert replies.expire_replies(registry, later) == 1
    assert isinstance(claimed(registry, "b" * 64), Claim)


def test_of_many_at_once_one_wins(registry: Registry) -> None:
    def attempt(_: int) -> bool:
        try:
            return isinstance(claimed(registry), Claim)
        except InProgress:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1
