"""`/v1/defaults`: which adapter runs for a language or task where a request names none and several fit."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from madx.errors import InvalidConfig
from madx.manifest import Kind
from registry import catalog
from registry.errors import InvalidName
from registry.references import AdapterRef, parse_reference
from registry.selection import canonical_key

from ..access import Caller, requires
from ..errors import InvalidRequest
from ..responses import problems
from ..schemas import Strict
from ..sent import SENT_CODES, described, sent
from ..state import Server, server_of

router = APIRouter(prefix="/v1/defaults/{kind}/{key}", tags=["defaults"])
Writer = Annotated[Caller, requires("write")]
Key = Annotated[str, Path(min_length=1, max_length=64, description="a language or a task")]
_FINGERPRINT = "^[0-9a-f]{64}$"
Fingerprint = Annotated[str | None, Query(pattern=_FINGERPRINT, description="default: that of the served backbone")]


class DefaultRequest(Strict):
    reference: str = Field(max_length=140, description="name, name@3 or name@production")
    fingerprint: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="default: the served backbone's"
    )


class DefaultItem(BaseModel):
    """`runs` is the version that `reference` stands for now."""

    kind: Kind
    key: str
    fingerprint: str
    reference: str
    runs: str


@router.put(
    "",
    operation_id="set_default",
    summary="Say what runs where a request names no adapter",
    responses=problems(
        "unknown_adapter",
        "unknown_alias",
        "unknown_backbone",
        "unknown_version",
        "wrong_backbone",
        "invalid",
        *SENT_CODES,
    ),
    openapi_extra=described(DefaultRequest),
)
def set_default(
    kind: Kind, key: Key, request: Request, caller: Writer, asked: Annotated[DefaultRequest, sent(DefaultRequest)]
) -> DefaultItem:
    """The adapter must be of that kind, and of that language or task. A key with a pattern replaces only its own."""
    server = server_of(request)
    reference = _reference(asked.reference)
    caller.check_name(reference.name)
    fingerprint = asked.fingerprint or server.loaded.fingerprint
    _check_place(server, reference, kind, _key(kind, key))
    runs = catalog.set_default(
        server.registry, reference, fingerprint=fingerprint, check_name=caller.check_name, actor=caller.actor
    )
    return DefaultItem(
        kind=kind, key=_key(kind, key), fingerprint=fingerprint, reference=str(reference), runs=runs.reference
    )


@router.delete(
    "",
    operation_id="clear_default",
    summary="Let requests name an adapter again where several fit",
    status_code=204,
    response_class=Response,
    responses=problems("no_default", "invalid"),
)
def clear_default(kind: Kind, key: Key, request: Request, caller: Writer, fingerprint: Fingerprint = None) -> None:
    server = server_of(request)
    fingerprint = fingerprint or server.loaded.fingerprint
    catalog.clear_default(
        server.registry,
        kind=kind,
        key=_key(kind, key),
        fingerprint=fingerprint,
        check_name=caller.check_name,
        actor=caller.actor,
    )


def _reference(text: str) -> AdapterRef:
    try:
        return parse_reference(text)
    except InvalidName as error:
        raise InvalidRequest(str(error), field="reference") from error


def _key(kind: Kind, key: str) -> str:
    try:
        return canonical_key(kind, key)
    except InvalidConfig as error:
        raise InvalidRequest(str(error), field="key") from error


def _check_place(server: Server, reference: AdapterRef, kind: Kind, key: str) -> None:
    adapter = catalog.resolve(server.registry, reference)
    place = adapter.language if adapter.kind == "language" else adapter.task
    if (adapter.kind, place) != (kind, key):
        raise InvalidRequest(f"{reference} is a {adapter.kind} adapter for {place}", field="reference")
