"""What a running server tidies up: from its start on what has expired, and nothing that has not."""

import asyncio
from datetime import timedelta

from sqlalchemy import func, select

from registry import replies, uploads
from registry.models import ReplyRow
from registry.registry import Registry
from service.housekeeping import kept_tidy, tidy
from tests.support.ageing import let_pass
from tests.support.served import PATIENCE_S, Home

LIMITS = uploads.UploadLimits(size_bytes=100, life=timedelta(hours=1), per_actor=2)


def begin(registry: Registry, key: str) -> str:
    """An upload, and a request with an Idempotency-Key."""
    replies.claim(registry, actor="ana", key=key, request_digest="0" * 64)
    return uploads.open_upload(registry, actor="ana", limits=LIMITS).id


def there(registry: Registry) -> tuple[set[str], int]:
    """Files of uploads, and kept replies."""
    with registry.database.reading() as session:
        kept = session.scalar(select(func.count()).select_from(ReplyRow)) or 0
    return {path.name for path in (registry.store.staging / uploads.FOLDER).iterdir()}, kept


def test_what_has_expired_goes_and_nothing_else(own_home: Home) -> None:
    with own_home.registry() as registry:
        begin(registry, "old")
        let_pass(registry, timedelta(hours=2))
        young = begin(registry, "young")
        tidy(registry)
        assert there(registry) == ({young}, 1)


def test_a_server_tidies_up_from_its_start_on(own_home: Home) -> None:
    async def run(registry: Registry) -> None:
        async with asyncio.timeout(PATIENCE_S), kept_tidy(registry):
            while there(registry) != (set(), 0):  # noqa: ASYNC110 - the database sets no event
                await asyncio.sleep(0.01)

    with own_home.registry() as registry:
        begin(registry, "old")
        let_pass(registry, timedelta(hours=2))
        asyncio.run(run(registry))
