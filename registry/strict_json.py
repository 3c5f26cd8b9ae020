"""JSON without its loose ends: what two readers could understand differently is refused.

The gate reads manifests and weight headers through it.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Of lists and objects in each other. Parsers differ in how deep they can go, and ours in how deep it stands itself."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_strictly(content: bytes) -> Any:
    """Raises `ValueError` for what is no JSON in UTF-8, is nested deeper than `MAX_DEPTH`, holds NaN or infinity, or
    has a name twice in an object.
    """
    text = content.decode("utf-8")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_depth(value)
    if _SURROGATE.search(text) is not None:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on one half of a pair
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


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
