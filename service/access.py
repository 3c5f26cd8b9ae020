"""Who asks, and whether they may. Every route but the open ones depends on `requires(role)`.

With keys, a request brings `Authorization: Bearer KEY`. Without them (a server bound to loopback), what must be kept
out are pages in the user's own browser: other host names (DNS rebinding) and foreign origins.
"""

import asyncio
import hashlib
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from madx.errors import GlossaError
from registry.access import TOUCHED_EVERY, Key, Role, authenticate, check_may_write, touch
from registry.errors import NoKey, NotAllowed
from registry.registry import Registry
from registry.values import Event

from .errors import RateLimited
from .logs import where
from .notes import note_of
from .settings import Settings
from .watcher import Watcher

_log = logging.getLogger(__name__)

REMEMBERED_S = 5.0
"""For so long a key that has expired may go on working; so may one that was revoked, while the database is away."""

ANONYMOUS = "anonymous"
_MOST_REMEMBERED = 1024
_BEARER = HTTPBearer(auto_error=False, description="an API key, made by `glossa keys create`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `actor` is what the audit says; without keys everybody is the same anonymous caller."""

    actor: str
    key: Key | None

    def check_name(self, name: str) -> None:
        """Raises `NotAllowed` where the caller may not write the adapter `name`."""
        if self.key is not None:
            check_may_write(self.key, name)


class Access:
    """One server's. Remembers keys for a moment, so that the database is not asked at every request."""

    def __init__(self, registry: Registry, settings: Settings, watcher: Watcher) -> None:
        self._registry = registry
        self._mode = settings.keys
        self._known: OrderedDict[bytes, tuple[Key, float]] = OrderedDict()
        self._limit = RateLimitItemPerMinute(settings.requests_per_minute) if settings.requests_per_minute else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._touches: dict[str, asyncio.Task[None]] = {}
        watcher.subscribe(self._forget)

    async def close(self) -> None:
        """Before the registry is closed."""
        await asyncio.gather(*self._touches.values())

    async def admit(self, request: Request, text: str | None, role: Role) -> Caller:
        """Raises `NoKey`, `NotAllowed` or `RateLimited`."""
        if self._mode == "off":
            return Caller(actor=ANONYMOUS, key=None)
        if self._mode == "loopback":
            check_local(request)
            return Caller(actor=ANONYMOUS, key=None)
        if text is None:
            raise NoKey("this server asks for a key; send it as Authorization: Bearer KEY")
        key = await self._key(text)
        self._count(key)
        if not key.may(role):
            raise NotAllowed(f"this needs a key of the role {role}; this one is of the role {key.role}")
        return Caller(actor=key.actor, key=key)

    def remembered(self, text: str) -> Key | None:
        """What the database said of a key a moment ago, while keys are asked for. Asks nobody, and counts nothing."""
        return self._remembered(_digest(text)) if self._mode == "required" else None

    def _remembered(self, name: bytes) -> Key | None:
        key, since_s = self._known.get(name, (None, 0.0))
        return None if time.monotonic() - since_s > REMEMBERED_S else key

    async def _key(self, text: str) -> Key:
        name = _digest(text)
        key = self._remembered(name)
        if key is None:
            self._known.pop(name, None)
            known = self._known
            key = await run_in_threadpool(authenticate, self._registry, text)
            known[name] = key, time.monotonic()  # into what was forgotten meanwhile, where a key was revoked
            self._touch(key)
            if len(known) > _MOST_REMEMBERED:
                known.popitem(last=False)
        return key

    def _forget(self, events: Sequence[Event]) -> None:
        """A key that was revoked is asked for anew. Called in any thread."""
        if any(event.action.startswith("key.") for event in events):
            self._known = OrderedDict()

    def _touch(self, key: Key) -> None:
        """Beside the request, which need not wait until somebody else has written."""
        is_recent = key.last_used_at is not None and datetime.now(UTC) - key.last_used_at < TOUCHED_EVERY
        if is_recent or key.id in self._touches:
            return
        task = self._touches[key.id] = asyncio.create_task(self._touched(key))
        task.add_done_callback(lambda _: self._touches.pop(key.id))

    async def _touched(self, key: Key) -> None:
        try:
            await run_in_threadpool(touch, self._registry, key)
        except GlossaError as error:
            _log.warning("when a key was used last is not written down: %s", where(error))

    def _count(self, key: Key) -> None:
        if self._limit is None or self._limiter.hit(self._limit, key.id):
            return
        reset_s = self._limiter.get_window_stats(self._limit, key.id).reset_time
        raise RateLimited(
            f"more than {self._limit.amount} requests in a minute with this key",
            retry_after_s=max(1, round(reset_s - time.time())),
        )


@asynccontextmanager
async def controlled(registry: Registry, settings: Settings, watcher: Watcher) -> AsyncIterator[Access]:
    """Who may use a server, while its registry is open."""
    access = Access(registry, settings, watcher)
    try:
        yield access
    finally:
        await access.close()


def _digest(text: str) -> bytes:
    """So that no key lies in memory for longer than its request."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def check_local(request: Request) -> None:
    """Raises `NotAllowed` for a request that a page from elsewhere may have made the user's browser send."""
    if not is_loopback(_host_of(f"//{request.headers.get('host', '')}")):
        raise NotAllowed("this server serves its own machine alone, as localhost; for others start it with keys")
    origin = request.headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise NotAllowed("this server takes no requests from pages of other hosts")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`, whatever a name server says."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(address: str) -> str:
    """Empty for what is no address."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


class _Guard:
    """A dependency: the caller, if they have `role`."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(
        self, request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> Caller:
        access = request.app.state.server.access
        assert isinstance(access, Access)
        caller = await access.admit(request, None if bearer is None else bearer.credentials, self.role)
        if caller.key is not None:
            note_of(request).key = caller.key.id
        return caller


def requires(role: Role) -> Any:
    """For `Annotated[Caller, requires("read")]`; whoever has a higher role has this one too."""
    return Depends(_Guard(role))


def role_of(dependant: Dependant) -> Role | None:
    """The role that a route with these dependencies asks for; None for an open one."""
    if isinstance(dependant.call, _Guard):
        return dependant.call.role
    return next((role for inner in dependant.dependencies if (role := role_of(inner)) is not None), None)
