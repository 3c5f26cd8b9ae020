"""JSON without its loose ends: what two readers could understand differently is refused.

The gate reads manifests and weight headers through it.
"""

import json
import math
import re
from typing import Any, NoReturn

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_strictly(content: bytes) -> Any:
    """Raises `ValueError` for what is no JSON in UTF-8, for NaN and infinity, and where an object has a name twice."""
    text = content.decode("utf-8")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
        if _SURROGATE.search(text) is not None:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on one half of a pair
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name comes twice in one object")
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _whole(text: str) -> int:
    if text == "-0":
        raise ValueError("-0 is no whole number to every reader")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number
