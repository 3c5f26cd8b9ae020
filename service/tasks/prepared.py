"""A request on its way to the engine: what it asks for, then its rows, and how their answers become the reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from madx.errors import InvalidInput

from ..readout import RowAnswer
from ..resolve import Lookups, Once, Stack
from ..schemas import StackParameters, language_of_each
from ..state import Server
from ..work import AskedRow

JsonItem = dict[str, Any]
_Encoded = TypeVar("_Encoded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """`stacks` has one for each text; `is_single` where that is one which stands in no list. `reply` takes the rows'
    answers in order and gives the JSON body, which takes about as long as decoding `reply_tokens`.
    """

    is_single: bool
    stacks: tuple[Stack, ...]
    rows: tuple[AskedRow, ...]
    reply: Callable[[Sequence[RowAnswer]], list[Any]]
    reply_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that was read: the language of each of its texts, which stack runs for a language, and its texts'
    way to rows.
    """

    texts: tuple[str, ...]
    codes: tuple[str | None, ...]
    resolve: Callable[[Lookups, str | None], Stack]
    encode: Callable[[tuple[Stack, ...]], Prepared]

    def stacks(self, lookups: Lookups) -> tuple[Stack, ...]:
        """One for each text; what a request names stands for one version in all of them."""
        once = Once(lookups)
        resolved = {code: self.resolve(once, code) for code in dict.fromkeys(self.codes)}
        return tuple(resolved[code] for code in self.codes)


Read = Callable[[bytes, str | None, Server], Asked]
"""Body and the address's language -> what is asked for. Neither waits nor asks the registry."""


def asked(
    texts: Sequence[str],
    parameters: StackParameters,
    resolve: Callable[[Lookups, str | None], Stack],
    encode: Callable[[tuple[Stack, ...]], Prepared],
) -> Asked:
    codes = tuple(language_of_each(parameters, texts))
    return Asked(texts=tuple(texts), codes=codes, resolve=resolve, encode=encode)


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
