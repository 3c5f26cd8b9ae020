"""JSON without its loose ends: what two readers could understand differently is refused.

The gate reads manifests and weight headers through it.
"""

import json
import math
from typing import Any, NoReturn


def parse_strictly(content: bytes) -> Any:
    """Raises `ValueError` for what is no JSON, for NaN and infinity, and where an object has a name twice."""
    try:
        return json.loads(content, object_pairs_hook=_distinct, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name comes twice in one object")
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number
