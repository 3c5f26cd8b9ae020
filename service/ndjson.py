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
            if is_too_long or len(begun) + len(part) > longest_bytes:
                yield _too_long(longest_bytes)
            elif (line := bytes(begun) + part).strip():
                yield line
            begun.clear()
            is_too_long = False
        is_too_long = is_too_long or len(begun) + len(rest) > longest_bytes
        if is_too_long:
            begun.clear()
        else:
            begun += rest  # in place: a copy at each piece would take time by the square of the line
    if is_too_long:
        yield _too_long(longest_bytes)
    elif begun.strip():
        yield bytes(begun)


def _too_long(longest_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the line is longer than {longest_bytes} bytes", field="body")


def split(content: bytes, *, max_inputs: int, most_bytes: int) -> list[bytes]:
    """A body with a list of texts -> a body for each of them; any other one stays as it is.

    Each of them repeats what stands beside the texts, `most_bytes` at most. Raises `BodyTooLarge` beyond that and
    for too many texts, `InvalidRequest` where the body is no JSON or has a language too few or many.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("the body is no JSON", field="body") from error
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list) or not body["inputs"]:
        return [content]
    texts = body.pop("inputs")
    if len(texts) > max_inputs:
        raise BodyTooLarge(
            f"{len(texts)} texts in one JSON body; at most {max_inputs} are accepted, and any number as {MEDIA_TYPE}",
            field="inputs",
        )
    languages = _languages_of(body, len(texts))
    repeated_bytes = len(orjson.dumps(body)) * len(texts)
    if repeated_bytes > most_bytes:
        raise BodyTooLarge(
            f"what stands beside inputs makes {repeated_bytes} bytes, once for each text; at most {most_bytes} are "
            "accepted: send fewer texts at once",
            field="body",
        )
    if languages is None:
        return [orjson.dumps(body | {"inputs": text}) for text in texts]
    return [
        orjson.dumps(body | {"inputs": text, "parameters": body["parameters"] | {"language": language}})
        for text, language in zip(texts, languages, strict=True)
    ]


def _languages_of(body: dict[str, Any], count: int) -> list[Any] | None:
    """The list of languages, one for each text, taken out of the parameters; None where these have no list."""
    parameters = body.get("parameters")
    if not isinstance(parameters, dict) or not isinstance(parameters.get("language"), list):
        return None
    languages: list[Any] = parameters.pop("language")
    if len(languages) != count:
        raise InvalidRequest(
            f"parameters.language lists {len(languages)} languages for {count} texts; give one for each",
            field="parameters.language",
        )
    return languages
