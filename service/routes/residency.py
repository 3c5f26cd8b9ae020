"""`/v1/residency` and `POST /v1/adapters/{name}:load`: where adapters' weights are, and bringing them to the device."""

import asyncio
from typing import Annotated, Protocol

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from registry import catalog
from registry.references import AdapterRef
from registry.values import Version

from ..access import Caller, requires
from ..errors import DeadlineExceeded, InvalidRequest
from ..items import Limit, Name
from ..residency.places import Lease, Placed
from ..residency.tiers import Residency
from ..responses import problems
from ..schemas import Strict
from ..sent import SENT_CODES, described, sent
from ..state import server_of

router = APIRouter(prefix="/v1", tags=["residency"])
Reader = Annotated[Caller, requires("read")]
Writer = Annotated[Caller, requires("write")]
After = Annotated[str | None, Query(max_length=100, description="next_cursor of the page before")]


class TierItem(BaseModel):
    """`limit_bytes` is 0 where there is no such tier."""

    tier: str
    adapters: int
    used_bytes: int
    limit_bytes: int


class ResidentItem(BaseModel):
    """An adapter on the device. `in_use`: a request that waits or runs needs it; `idle_s` since one wanted it last."""

    reference: str
    digest: str
    size_bytes: int
    in_use: bool
    pinned: bool
    idle_s: float


class ResidencyItem(BaseModel):
    """`loading` are on their way, `failing` are not tried again for a while, `switching` are references that go over to
    another version as soon as it is on the device. `items` are the adapters there, by reference.
    """

    tiers: list[TierItem]
    loading: int
    failing: int
    switching: int
    items: list[ResidentItem]
    next_cursor: str | None


class LoadRequest(Strict):
    version: int | None = Field(default=None, ge=1, le=999_999_999)
    alias: str | None = Field(default=None, max_length=64, description="instead of a version")
    pin: bool | None = Field(default=None, description="whether it is to stay on the device; null leaves that as it is")


@router.get(
    "/residency",
    operation_id="show_residency",
    summary="Where adapters' weights are: bytes by tier, and which are on the device",
    responses=problems("invalid"),
)
def show_residency(request: Request, _caller: Reader, limit: Limit = 50, cursor: After = None) -> ResidencyItem:
    server = server_of(request)
    residency = server.engine.residency
    placed = [place for place in residency.device.places() if cursor is None or place.reference > cursor]
    page = placed[:limit]
    return ResidencyItem(
        tiers=[_tier("device", residency.device), _tier("host", residency.host), _tier("disk", residency.disk)],
        loading=len(residency.loading),
        failing=len(residency.loading.failed),
        switching=len(server.switching),
        items=[_item(place) for place in page],
        next_cursor=page[-1].reference if len(placed) > limit else None,
    )


@router.post(
    "/adapters/{name}:load",
    operation_id="load_adapter",
    summary="Bring a version to the device, and keep it there or not",
    responses=problems(
        "unknown_adapter",
        "unknown_alias",
        "unknown_version",
        "pins_full",
        "wrong_backbone",
        "invalid",
        "invalid_name",
        "adapter_load_failed",
        "deadline_exceeded",
        *SENT_CODES,
    ),
    openapi_extra=described(LoadRequest),
)
async def load_adapter(
    name: Name, request: Request, caller: Writer, asked: Annotated[LoadRequest, sent(LoadRequest)]
) -> ResidentItem:
    """Answers when it is there. Without version or alias: what the bare name stands for."""
    caller.check_name(name)
    server = server_of(request)
    if asked.version is not None and asked.alias is not None:
        raise InvalidRequest("a version or an alias, not both", field="alias")
    reference = AdapterRef(name=name, number=asked.version, alias=asked.alias)
    version = await run_in_threadpool(
        catalog.resolve, server.registry, reference, fingerprint=server.loaded.fingerprint
    )
    residency = server.engine.residency
    lease = await _loaded(residency, version, server.settings.deadline_s)
    if asked.pin is True:
        residency.device.pin(lease, "requests")
    elif asked.pin is False:
        residency.device.unpin(lease.digest, "requests")
    return _item(residency.device.place(lease))


async def _loaded(residency: Residency, version: Version, within_s: float) -> Lease:
    """Others may wait for the same load: it goes on when this request gives up."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loading = residency.want(version)
    loading.add_done_callback(lambda _: loop.call_soon_threadsafe(there.set))
    try:
        async with asyncio.timeout(within_s):
            await there.wait()
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"{version.reference} was not there within {within_s:g} s; it goes on loading"
        ) from error
    return loading.result()


class _Tier(Protocol):
    @property
    def used_bytes(self) -> int: ...

    @property
    def limit_bytes(self) -> int: ...

    def __len__(self) -> int: ...


def _tier(name: str, tier: _Tier | None) -> TierItem:
    if tier is None:
        return TierItem(tier=name, adapters=0, used_bytes=0, limit_bytes=0)
    return TierItem(tier=name, adapters=len(tier), used_bytes=tier.used_bytes, limit_bytes=tier.limit_bytes)


def _item(place: Placed) -> ResidentItem:
    return ResidentItem(
        reference=place.reference,
        digest=place.digest,
        size_bytes=place.size_bytes,
        in_use=place.in_use,
        pinned=place.pinned,
        idle_s=round(place.idle_s, 3),
    )
