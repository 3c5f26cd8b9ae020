"""The service's app without a server: an httpx transport that `Client` takes, so there is one path for predictions."""

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings


class InProcess(httpx.BaseTransport):
    """A context manager that keeps the app's lifespan open. Its event loop runs only while a request is answered."""

    def __init__(self, settings: Settings) -> None:
        self._app: FastAPI = create_app(settings.model_copy(update={"keys": "off"}))
        self._runner = asyncio.Runner()
        self._lifespan: AbstractAsyncContextManager[object] | None = None
        self._transport = httpx.ASGITransport(app=self._app)

    def __enter__(self) -> Self:
        self._lifespan = self._app.router.lifespan_context(self._app)
        try:
            self._runner.run(self._open())
        except BaseException:
            self._runner.close()
            raise
        return self

    async def _open(self) -> None:
        assert self._lifespan is not None
        await self._lifespan.__aenter__()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            self._runner.run(self._close())
        finally:
            self._runner.close()

    async def _close(self) -> None:
        assert self._lifespan is not None
        await self._lifespan.__aexit__(None, None, None)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._runner.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content, request=request)
