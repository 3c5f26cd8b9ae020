"""One server over HTTP: what every part of the Python client sends its requests through.

A problem of the server's becomes a `ClientError` with the same code; so does everything that is no Glossa server.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from madx.errors import GlossaError

Json = Any
TIMEOUT_S = 60.0
LONG_TIMEOUT_S = 900.0  # hashing, looking at and storing weights may take minutes
_TOO_LATE = frozenset({408, 502, 503, 504})
_HOPELESS = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_PASSING = frozenset({"unreachable", "upload_busy", "in_progress", "wrong_range"})


class ClientError(GlossaError):
    """A request without an answer. `code`, `status` and `detail` are those of the server's problem; `status` is None
    where no server answered. `retry_after_s` is what the server asked for.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int | None,
        problem: dict[str, Json] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]
        self.status = status
        self.detail = detail
        self.problem = problem or {}
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later: no answer, or one that says so."""
        if self.status == 429:
            return self.retry_after_s is not None
        hopeless = isinstance(self.__cause__, _HOPELESS)
        return not hopeless and (self.code in _PASSING or self.status in _TOO_LATE)

    @property
    def is_unconnected(self) -> bool:
        """Whether nobody was there at all."""
        return isinstance(self.__cause__, httpx.ConnectError | httpx.ConnectTimeout)

    @property
    def is_refusal(self) -> bool:
        """Whether the same content would be refused again, whoever sends it."""
        return self.status in (409, 413, 422) and not self.may_pass


class Connection:
    """A server at `base_url`. `transport` is httpx's, for a proxy of one's own or an app in the same process."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._http = httpx.Client(
            base_url=_address(base_url), headers=_headers(api_key), transport=transport, timeout=timeout_s
        )

    @property
    def address(self) -> str:
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        json: Json = None,
        query: Mapping[str, str | int | bool | None] | None = None,
        headers: Mapping[str, str] | None = None,
        content: Iterable[bytes] | None = None,
        files: Any = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """The whole answer of a request that succeeded. Raises `ClientError`."""
        with _translated(self.address):
            response = self._http.request(
                method,
                path,
                json=json,
                params=_given(query),
                headers=headers,
                content=content,
                files=files,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s,
            )
        self._check(response)
        return response

    def object(self, method: str, path: str, **request: Any) -> dict[str, Json]:
        """The answer's JSON object. `request` as for `send`."""
        response = self.send(method, path, **request)
        content = json_of(response)
        if not isinstance(content, dict):
            raise foreign(response)
        return content

    def page(self, path: str, query: Mapping[str, str | int | bool | None]) -> tuple[list[dict[str, Json]], str | None]:
        """The items of one page of a list, and the cursor of the next."""
        response = self.send("GET", path, query=query)
        content = json_of(response)
        if not isinstance(content, dict) or not isinstance(content.get("items"), list):
            raise foreign(response)
        return content["items"], content.get("next_cursor")

    def pages(self, path: str, query: Mapping[str, str | int | bool | None] | None = None) -> Iterator[dict[str, Json]]:
        """Every item of a list, page after page."""
        cursor: str | None = None
        while True:
            items, cursor = self.page(path, {**(query or {}), "cursor": cursor})
            yield from items
            if cursor is None:
                return

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], method: str = "GET", content: bytes | None = None
    ) -> Iterator[httpx.Response]:
        """An answer whose body has not been read yet. Raises `ClientError`, also for what goes wrong in the block."""
        with (
            _translated(self.address),
            self._http.stream(method, path, headers=headers, content=content) as response,
        ):
            if not response.is_success:
                response.read()
            self._check(response)
            yield response

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        problem = _problem_of(response)
        code = str(problem.get("code", "unexpected_answer"))
        hint = "; `glossa` takes it from GLOSSA_API_KEY, `Client` as api_key" if code == "no_key" else ""
        raise ClientError(
            str(problem.get("detail", f"{self.address} answered {response.status_code}")) + hint,
            code=code,
            status=response.status_code,
            problem=problem,
            retry_after_s=_seconds(response.headers.get("retry-after")),
        )


@contextmanager
def _translated(address: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ClientError(
            f"no answer from {address}: {reason}; is the server running?", code="unreachable", status=None
        ) from error
    except UnicodeEncodeError as error:
        raise ClientError(
            "a text or parameter holds what is no Unicode character; give UTF-8", code="invalid", status=None
        ) from error


def path_of(*parts: str | int) -> str:
    """An address below /v1; a part cannot leave its place in it. Raises `ClientError` where one names no place."""
    texts = [str(part) for part in parts]
    if any(text in ("", ".", "..") for text in texts):
        raise ClientError("an empty name, '.' and '..' name nothing", code="invalid_name", status=None)
    return "/v1/" + "/".join(quote(text, safe="") for text in texts)


def json_of(response: httpx.Response) -> Json:
    try:
        return response.json()
    except ValueError as error:
        raise foreign(response) from error


def foreign(response: httpx.Response) -> ClientError:
    return ClientError(
        f"{response.url} answered something else than a Glossa server does; check the address",
        code="unexpected_answer",
        status=response.status_code,
    )


def _given(query: Mapping[str, str | int | bool | None] | None) -> dict[str, str | int] | None:
    if query is None:
        return None
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in query.items()
        if value is not None
    }


def _headers(api_key: str | None) -> dict[str, str]:
    if api_key is None:
        return {}
    if not api_key.isascii() or not api_key.isprintable():
        raise ClientError("the API key holds what no key holds; copy it again", code="no_key", status=None)
    return {"Authorization": f"Bearer {api_key}"}


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ClientError(f"{text!r} is no address; write http://HOST:PORT", code="unreachable", status=None)
    return url


def _problem_of(response: httpx.Response) -> dict[str, Json]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
