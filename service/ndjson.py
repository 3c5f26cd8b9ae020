"""NDJSON: a JSON value on each line. Pieces of a body -> its lines, and a JSON body of many texts -> such lines."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import orjson

from .errors import BodyTooLarge, InvalidRequest

MEDIA_TYPE = "application/x-ndjson"


def is_asked_for(header: str) -> bool:
    """Whether a `Content-Type` or `Accept` names it."""
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in header.split(","))


async def lines_of(pieces: AsyncIterable[bytes], *, longest_bytes: int) -> AsyncIterator[bytes | BodyTooLarge]:
    """Lines without their ends; empty ones are left out. Of a line that is too long nothing is kept but the error."""
    begun, is_too_long = bytearray(), False
    async for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            line = _joined(begun, part, longest_bytes)
            if is_too_long or line is None:
                yield _too_long(longest_bytes)
            elif line.strip():
                yield line
            begun.clear()
            is_too_long = False
        is_too_long = is_too_long or _joined(begun, rest, longest_bytes) is None
        begun = bytearray() if is_too_long else begun + rest
    if is_too_long:
        yield _too_long(longest_bytes)
    elif begun.strip():
        yield bytes(begun)


def _joined(begun: bytearray, part: bytes, longest_bytes: int) -> bytes | None:
    return None if len(begun) + len(part) > longest_bytes else bytes(begun) + part


def _too_long(longest_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the line is longer than {longest_bytes} bytes", field="body")


def split(content: bytes, *, max_inputs: int) -> list[bytes]:
    """A body with a list of texts -> a body for each of them; any other one stays as it is.

    Raises `BodyTooLarge` for too many, `InvalidRequest` where the body is no JSON or has a language too few or many.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("the body is no JSON", field="body") from error
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list) or not body["inputs"]:
        return [content]
    texts = body["inputs"]
    if len(texts) > max_inputs:
        raise BodyTooLarge(
            f"{len(texts)} texts in one JSON body; at most {max_inputs} are accepted, and any number as {MEDIA_TYPE}",
            field="inputs",
        )
    return [
        orjson.dumps(body | {"inputs": text} | parameters)
        for text, parameters in zip(texts, _parameters_of_each(body, len(texts)), strict=True)
    ]


def _parameters_of_each(body: dict[str, Any], count: int) -> list[dict[str, Any]]:
    parameters = body.get("parameters")
    if not isinstance(parameters, dict) or not isinstance(parameters.get("language"), list):
        return [{}] * count
    languages = parameters["language"]
    if len(languages) != count:
        raise InvalidRequest(
            f"parameters.language lists {len(languages)} languages for {count} texts; give one for each",
            field="parameters.language",
        )
    return [{"parameters": parameters | {"language": language}} for language in languages]
