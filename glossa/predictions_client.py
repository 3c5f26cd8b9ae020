"""Many texts to a server, and an answer to each as it is done. `Client.predict_many` is this.

Texts go in parts, because an HTTP client sends a whole request before it reads of the answer: a part is small enough
that the server can hold it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .connection import ClientError, Connection, Json, path_of
from .patience import Patience

_MEDIA_TYPE = "application/x-ndjson"
_PART_BYTES = 48 << 10  # beside a connection's buffers, which are 64 KiB at the least
_PART_LINES = 256
_ENDING = frozenset({"draining", "not_ready"})

Input = str | Mapping[str, Json]
"""A text, or `{"inputs": text, "parameters": {...}}` with what is this text's alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a prediction brought: the task's own content, which versions ran, and the server's time where it is told."""

    content: Json
    adapter: str | None
    language_adapter: str | None
    total_ms: float | None


def predict_many(
    connection: Connection, task: str, inputs: Iterable[Input], parameters: Mapping[str, Json], patience: Patience
) -> Iterator[Answer | ClientError]:
    """As `Client.predict_many`."""
    for part in _parts(inputs, parameters):
        answered = 0
        while answered < len(part):
            try:
                for answer in _answers(connection, task, part[answered:]):
                    yield answer
                    answered += 1
                    patience.progressed()
            except ClientError as error:
                patience.wait(error)


def _parts(inputs: Iterable[Input], parameters: Mapping[str, Json]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size_bytes = 0
    for given in inputs:
        line = _line(given, parameters)
        if part and (len(part) == _PART_LINES or size_bytes + len(line) > _PART_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(line)
        size_bytes += len(line)
    if part:
        yield part


def _line(given: Input, parameters: Mapping[str, Json]) -> bytes:
    body: dict[str, Json] = {"inputs": given} if isinstance(given, str) else dict(given)
    own = body.get("parameters") or {}
    if parameters or own:
        body["parameters"] = {**parameters, **own}
    try:
        return json.dumps(body, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise ClientError(
            "a text or parameter holds what is no Unicode character; give UTF-8", code="invalid", status=None
        ) from error


def _answers(connection: Connection, task: str, lines: list[bytes]) -> Iterator[Answer | ClientError]:
    """One for each line. Raises `ClientError` where the rest is not answered."""
    headers = {"content-type": _MEDIA_TYPE, "accept": _MEDIA_TYPE}
    number = 0
    with connection.stream(
        path_of("predict", task), headers=headers, method="POST", content=b"".join(lines)
    ) as response:
        for number, line in enumerate(_lines(response.iter_bytes()), start=1):
            answer = _answer(line)
            if isinstance(answer, ClientError) and answer.code in _ENDING:
                raise answer
            if number > len(lines):
                raise _foreign(connection)
            yield answer
    if number < len(lines):
        raise _foreign(connection)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """By b"\\n" alone: a text may hold other ends of lines, which are none here."""
    begun = b""
    for piece in pieces:
        *ended, begun = (begun + piece).split(b"\n")
        yield from ended
    if begun:
        yield begun


def _answer(line: bytes) -> Answer | ClientError:
    try:
        item = json.loads(line)
        if "error" in item:
            problem = dict(item["error"])
            return ClientError(
                str(problem["detail"]), code=str(problem["code"]), status=int(problem["status"]), problem=problem
            )
        return Answer(
            content=item["output"],
            adapter=item.get("adapter"),
            language_adapter=item.get("language_adapter"),
            total_ms=None,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ClientError(
            "a line of the answer is none of a Glossa server's; check the address",
            code="unexpected_answer",
            status=200,
        ) from error


def _foreign(connection: Connection) -> ClientError:
    return ClientError(
        f"{connection.address} answered another number of lines than were sent; check the address",
        code="unexpected_answer",
        status=200,
    )
