"""The Python client of a running server. It needs httpx alone, so a caller's process stays small.

with Client("http://127.0.0.1:8000") as client:
    client.predict("ner", "Juma anaishi Nairobi.", language="sw")
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from madx.errors import GlossaError

Json = Any
_TIMEOUT_S = 60.0


class ClientError(GlossaError):
    """A request without an answer. `code`, `status` and `detail` are those of the server's problem; `status` is None
    where no server answered.
    """

    def __init__(self, detail: str, *, code: str, status: int | None, problem: dict[str, Json] | None = None) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]
        self.status = status
        self.detail = detail
        self.problem = problem or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a prediction brought: the task's own content, which versions ran, and the server's time."""

    content: Json
    adapter: str | None
    language_adapter: str | None
    total_ms: float | None


class Client:
    """A server at `base_url`. `transport` is httpx's, for a proxy of one's own or an app in the same process."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        *,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=_address(base_url), headers=headers, transport=transport, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def predict(self, task: str, inputs: str | list[str], **parameters: Json) -> Json:
        """The task's answer: a list for a text, a list of lists for a list of texts. Raises `ClientError`."""
        return self.answer(task, inputs, **parameters).content

    def answer(self, task: str, inputs: str | list[str], **parameters: Json) -> Answer:
        """As `predict`, with what the answer's headers say."""
        body: dict[str, Json] = {"inputs": inputs}
        if parameters:
            body["parameters"] = parameters
        response = self._send("POST", f"/v1/predict/{quote(task, safe='')}", body)
        took = response.headers.get("x-total-time")
        return Answer(
            content=_json_of(response),
            adapter=response.headers.get("x-glossa-adapter"),
            language_adapter=response.headers.get("x-glossa-language-adapter"),
            total_ms=None if took is None else float(took),
        )

    def adapters(self) -> list[dict[str, Json]]:
        """Every live version that the server knows."""
        return self._items("/v1/adapters")

    def languages(self) -> list[dict[str, Json]]:
        return self._items("/v1/languages")

    def tasks(self) -> list[dict[str, Json]]:
        return self._items("/v1/tasks")

    def _items(self, path: str) -> list[dict[str, Json]]:
        response = self._send("GET", path)
        content = _json_of(response)
        if not isinstance(content, dict) or not isinstance(content.get("items"), list):
            raise _foreign(response)
        items: list[dict[str, Json]] = content["items"]
        return items

    def _send(self, method: str, path: str, body: Json = None) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise ClientError(
                f"no answer from {self._http.base_url}: {reason}; is the server running?",
                code="unreachable",
                status=None,
            ) from error
        except UnicodeEncodeError as error:
            raise ClientError(
                "a text or parameter holds what is no Unicode character; give UTF-8", code="invalid", status=None
            ) from error
        if response.is_success:
            return response
        problem = _problem_of(response)
        raise ClientError(
            str(problem.get("detail", f"{self._http.base_url} answered {response.status_code}")),
            code=str(problem.get("code", "unexpected_answer")),
            status=response.status_code,
            problem=problem,
        )


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


def _json_of(response: httpx.Response) -> Json:
    try:
        return response.json()
    except ValueError as error:
        raise _foreign(response) from error


def _foreign(response: httpx.Response) -> ClientError:
    return ClientError(
        f"{response.url} answered something else than a Glossa server does; check the address",
        code="unexpected_answer",
        status=response.status_code,
    )
