"""`Idempotency-Key`: a request that comes again gets the answer it was given the first time, and nothing is done twice.

The same request is one of the same method and address with the same content. Refusals and failures are not kept.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import Header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from madx.errors import GlossaError
from registry import replies
from registry.registry import Registry
from registry.replies import Claim, Reply

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description="the same key with the same request gets the first one's answer again, for 24 hours",
    ),
]
_RENEWED_EVERY_S = replies.LEASE.total_seconds() / 3


async def once(
    registry: Registry,
    request: Request,
    answer: Callable[[], Awaitable[Response]],
    *,
    key: str | None,
    actor: str,
    content: bytes = b"",
) -> Response:
    """What `answer` gives, or what it gave the first time that `key` came. `content` tells requests apart.

    Raises `IdempotencyMismatch`, `InProgress`, and what `answer` raises.
    """
    if key is None:
        return await answer()
    claimed = await run_in_threadpool(
        lambda: replies.claim(registry, actor=actor, key=key, request_digest=_digest(request, content))
    )
    if isinstance(claimed, Reply):
        headers = {**claimed.headers, "idempotent-replayed": "true"}
        return Response(claimed.body, status_code=claimed.status, headers=headers, media_type="application/json")
    held = _Held(registry, claimed)
    try:
        async with held.renewed():
            response = await answer()
    except BaseException:
        await held.give_up()
        raise
    await held.settle(response)
    return response


class _Held:
    """A claim, renewed while its request runs."""

    def __init__(self, registry: Registry, claim: Claim) -> None:
        self._registry = registry
        self._claim = claim

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def settle(self, response: Response) -> None:
        if not 200 <= response.status_code < 300:
            await self.give_up()
            return
        location = response.headers.get("location")
        reply = Reply(
            status=response.status_code,
            body=bytes(response.body).decode(),
            headers={} if location is None else {"location": location},
        )
        await run_in_threadpool(replies.keep, self._registry, self._claim, reply)

    async def give_up(self) -> None:
        """Where the database fails too, the claim ends with its lease."""
        with suppress(GlossaError):
            await run_in_threadpool(replies.give_up, self._registry, self._claim)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWED_EVERY_S)
            with suppress(GlossaError):  # a database that fails now may be back in time
                self._claim = await run_in_threadpool(replies.renew, self._registry, self._claim)


def _digest(request: Request, content: bytes) -> str:
    hasher = hashlib.sha256()
    for part in (request.method.encode(), str(request.url.path).encode(), request.url.query.encode(), content):
        hasher.update(len(part).to_bytes(8, "little") + part)
    return hasher.hexdigest()
