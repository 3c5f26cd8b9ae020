"""Fill-mask: a text with mask tokens -> one row read at the masks; vocabulary scores -> filled texts."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidInput, TextTooLong
from ..tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedMask:
    """A row's ids with special tokens, and the places of its mask tokens."""

    input_ids: tuple[int, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One candidate for one mask; `sequence` is the text with this candidate in, other masks left out."""

    score: float
    token: int
    token_str: str
    sequence: str


def encode(text: str, tokenizer: TextTokenizer, *, max_tokens: int) -> EncodedMask:
    """Raises `InvalidInput` without a mask token, `TextTooLong` where the text fills more than one row."""
    ids = tokenizer.row(tokenizer.encode(text))
    positions = tuple(place for place, number in enumerate(ids) if number == tokenizer.ids.mask)
    if not positions:
        raise InvalidInput(f"the text holds no mask token; write {tokenizer.mask_token} where a word is missing")
    if len(ids) > max_tokens:
        raise TextTooLong(f"the text has {len(ids)} tokens; fill-mask reads at most {max_tokens} at once")
    return EncodedMask(input_ids=tuple(ids), positions=positions)


def target_ids(targets: Sequence[str], tokenizer: TextTokenizer) -> list[int]:
    """Candidate words -> piece ids. Raises `InvalidInput` naming a target that is not one piece."""
    ids: list[int] = []
    for target in targets:
        pieces = tokenizer.encode(target)
        if len(pieces) != 1:
            raise InvalidInput(
                f"target {target!r} is {len(pieces)} pieces of the vocabulary; a target must be exactly one",
                field="parameters.targets",
            )
        ids.append(pieces[0])
    return ids


def decode(
    encoded: EncodedMask,
    candidates: Sequence[Sequence[int]],
    scores: Sequence[Sequence[float]],
    tokenizer: TextTokenizer,
) -> list[list[Fill]]:
    """For each mask its candidate ids and their probabilities, best first -> fills."""
    fills: list[list[Fill]] = []
    for position, ids, probabilities in zip(encoded.positions, candidates, scores, strict=True):
        row = list(encoded.input_ids)
        options: list[Fill] = []
        for token, score in zip(ids, probabilities, strict=True):
            row[position] = token
            options.append(
                Fill(score=score, token=token, token_str=tokenizer.decode([token]), sequence=tokenizer.decode(row))
            )
        fills.append(options)
    return fills
