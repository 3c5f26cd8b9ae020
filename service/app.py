"""`create_app(settings)`: the FastAPI app, and in its lifespan the registry, the backbone and the engine."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from madx.errors import GlossaError
from registry import catalog
from registry.registry import Registry, open_registry

from .access import controlled
from .barrier import Barrier
from .bodies import BodyGuard
from .description import describing
from .device_thread import EngineLimits
from .downloads import Downloads
from .engine import Engine
from .errors import InternalError, InvalidRequest, MethodNotAllowed, UnknownRoute
from .housekeeping import kept_tidy
from .intake import Intake
from .logs import log_unhandled, where
from .metrics import Metrics
from .model import Model, open_model
from .notes import note_of
from .pools import pooled
from .probes import probes_of
from .problems import is_inside, problem_of, problem_response
from .residency.pins import Pins, parse_pinned
from .residency.reading import StoreReader
from .residency.switching import Switching
from .residency.tending import Tending
from .residency.tiers import Residency, limits_of, open_disk
from .resolutions import Resolutions, ask
from .routes import (
    adapters,
    aliases,
    audit,
    defaults,
    evaluations,
    health,
    keys,
    listings,
    predict,
    publishing,
    residency,
    uploads,
    versions,
)
from .settings import Settings
from .state import Server
from .watcher import Watcher

_log = logging.getLogger(__name__)
_ROUTES = (
    predict,
    listings,
    adapters,
    versions,
    publishing,
    uploads,
    evaluations,
    aliases,
    defaults,
    residency,
    keys,
    audit,
    health,
)
_DESCRIPTION = "Many languages and many tasks from one frozen multilingual encoder."


def create_app(settings: Settings) -> FastAPI:
    """Opens nothing yet: the app's lifespan does, and raises what fails then."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _serving(settings, metrics) as server:
            app.state.server = server
            yield

    app = FastAPIOffline(
        title="Glossa",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        favicon_url="data:,",
        redirect_slashes=False,  # a redirect would lead to whatever host the client's header names
    )
    app.add_middleware(Barrier, metrics=metrics, access_log=settings.access_log)
    app.add_middleware(BodyGuard, limit_bytes=settings.max_body_bytes)  # around all others: it is added last
    app.add_exception_handler(GlossaError, _domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    for module in _ROUTES:
        app.include_router(module.router)
    app.openapi = describing(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _serving(settings: Settings, metrics: Metrics) -> AsyncIterator[Server]:
    """Everything a server consists of, closed again in reverse whatever happens."""
    asyncio.get_running_loop().set_exception_handler(log_unhandled)
    pinned = parse_pinned(settings.pinned)
    registry = await run_in_threadpool(
        open_registry, settings.home, database_url=settings.database_url, blob_url=settings.blob_url
    )
    try:
        engine = _engine(settings, registry, metrics)
        try:
            loaded = await engine.start()
            await run_in_threadpool(
                catalog.add_backbone,
                registry,
                fingerprint=loaded.fingerprint,
                name=loaded.name,
                config=loaded.config,
                masked_lm=loaded.backbone.masked_lm is not None,
                actor="server",
            )
            watcher = Watcher(registry)
            async with (
                kept_tidy(registry),
                controlled(registry, settings, watcher) as access,
                pooled(settings, engine.costs, metrics) as pools,
            ):
                resolve = partial(ask, registry, loaded.fingerprint)
                switching = Switching(engine.residency, resolve, metrics)
                resolutions = Resolutions(registry, loaded.fingerprint, watcher, switched=switching.choose)
                tending = Tending(switching, Pins(pinned, engine.residency, resolve))
                watcher.subscribe(tending.heard)
                with watcher.watching(), tending.running():
                    yield Server(
                        settings=settings,
                        access=access,
                        registry=registry,
                        loaded=loaded,
                        engine=engine,
                        metrics=metrics,
                        probes=probes_of(registry),
                        intake=Intake(at_once=settings.uploads_at_once),
                        downloads=Downloads(),
                        watcher=watcher,
                        pools=pools,
                        resolutions=resolutions,
                        switching=switching,
                    )
        finally:
            await engine.stop()
    finally:
        registry.close()


def _opened(settings: Settings, metrics: Metrics) -> Model:
    model = open_model(settings)
    metrics.describe_build(dtype=model.precision.name, device=str(model.loaded.backbone.device))
    return model


def _engine(settings: Settings, registry: Registry, metrics: Metrics) -> Engine:
    def open_residency(model: Model, wake: Callable[[], None]) -> Residency:
        disk = open_disk(settings, registry, metrics)
        read = StoreReader(registry, disk)
        return Residency(model=model, read=read, limits=limits_of(settings), wake=wake, metrics=metrics, disk=disk)

    return Engine(
        open_model=lambda: _opened(settings, metrics),
        open_residency=open_residency,
        limits=EngineLimits(
            queue_tokens=settings.queue_tokens,
            queue_s=settings.queue_s,
            batch_tokens=settings.batch_tokens,
            batch_s=settings.batch_s,
            stuck_after_s=settings.stuck_after_s,
        ),
        metrics=metrics,
    )


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GlossaError)
    if problem_of(error) is None:
        _log.error("an error without a status: %s", where(error))
    elif is_inside(error):
        _log.warning("%s", error)
    return _refused(request, error)


def _refused(request: Request, error: GlossaError) -> Response:
    problem = problem_of(error)
    note_of(request).code = InternalError.code if problem is None else problem.code
    return problem_response(error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return _refused(request, InvalidRequest(f"{field}: {first['msg']}", field=field))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, GlossaError):  # raised while the framework read a body
        return _refused(request, error.__cause__)
    if error.status_code == 400:
        return _refused(request, InvalidRequest("the body cannot be read", field="body"))
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").split(", ")
        return _refused(request, MethodNotAllowed(f"{request.method} is not taken here", allowed=allowed))
    return _refused(request, UnknownRoute(f"there is nothing at {request.url.path}; /docs lists the addresses"))
