"""A request made ready: its rows for the engine, and how its answers become the reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from madx.errors import InvalidInput

from ..readout import RowAnswer
from ..resolve import Stack
from ..schemas import StackParameters, language_of_each
from ..state import Server
from ..work import AskedRow

JsonItem = dict[str, Any]
_Encoded = TypeVar("_Encoded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """`stacks` has one for each text. `reply` takes the rows' answers in order and gives the JSON body."""

    stacks: tuple[Stack, ...]
    rows: tuple[AskedRow, ...]
    reply: Callable[[Sequence[RowAnswer]], list[Any]]


Prepare = Callable[[bytes, str | None, Server], Prepared]
"""Body and the address's language -> a request made ready. Runs in a worker thread."""


def stack_of_each(
    texts: Sequence[str], parameters: StackParameters, resolve: Callable[[str | None], Stack]
) -> tuple[Stack, ...]:
    """Resolve each text's stack by its language, each language once."""
    codes = language_of_each(parameters, texts)
    resolved = {code: resolve(code) for code in dict.fromkeys(codes)}
    return tuple(resolved[code] for code in codes)


def encode_each(texts: Sequence[str], encode: Callable[[str], _Encoded], *, single: bool) -> list[_Encoded]:
    """Encode every text; an error names the text it is about."""
    encoded: list[_Encoded] = []
    for index, text in enumerate(texts):
        try:
            encoded.append(encode(text))
        except InvalidInput as error:
            if not single and error.field == "inputs":
                error.field = f"inputs.{index}"
            raise
    return encoded
