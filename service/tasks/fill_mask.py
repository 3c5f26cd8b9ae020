"""`fill-mask` over HTTP: a Hugging Face fill-mask request -> rows, and ranked pieces -> its reply."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from madx.tasks import fill_mask
from madx.tasks.fill_mask import EncodedMask

from ..errors import BodyTooLarge
from ..readout import Candidates, Ranked, RowAnswer
from ..resolve import Stack, resolve_masked_lm
from ..schemas import FillMaskParameters, FillMaskRequest, read_request, read_texts, with_query
from ..state import Server
from ..work import AskedRow
from .prepared import Asked, JsonItem, Prepared, asked, encode_each

NAME = "fill-mask"
MAX_FILLS = 10_000
_TOP_K = 5


def read(content: bytes, language: str | None, server: Server) -> Asked:
    request = read_request(content, FillMaskRequest)
    parameters = with_query(request.parameters or FillMaskParameters(), language)
    texts = read_texts(
        request.inputs,
        max_inputs=server.settings.max_inputs,
        max_characters=server.settings.max_text_characters,
    )
    single = isinstance(request.inputs, str)
    target = server.target
    return asked(
        texts,
        parameters,
        lambda lookups, code: resolve_masked_lm(lookups, target, code, parameters),
        lambda stacks: _prepared(texts, stacks, parameters, server, single=single),
    )


def _prepared(
    texts: Sequence[str], stacks: tuple[Stack, ...], parameters: FillMaskParameters, server: Server, *, single: bool
) -> Prepared:
    readout = _readout(parameters, server)
    encoded = encode_each(
        texts,
        lambda text: fill_mask.encode(text, server.loaded.tokenizer, max_tokens=server.max_tokens),
        single=single,
    )
    _check_fills(encoded, readout.top_k)
    rows = tuple(
        AskedRow(
            input_ids=text.input_ids,
            positions=text.positions,
            language=stack.language,
            task=None,
            leave_out=stack.leave_out,
            readout=readout,
        )
        for text, stack in zip(encoded, stacks, strict=True)
    )

    def reply(answers: Sequence[RowAnswer]) -> list[Any]:
        replies = [
            _reply(text, answer, server) for text, answer in zip(encoded, cast(Sequence[Ranked], answers), strict=True)
        ]
        return replies[0] if single else replies

    fill_tokens = sum(readout.top_k * len(text.positions) * len(text.input_ids) for text in encoded)
    return Prepared(is_single=single, stacks=stacks, rows=rows, reply=reply, reply_tokens=fill_tokens)


def _readout(parameters: FillMaskParameters, server: Server) -> Candidates:
    top_k = parameters.top_k or _TOP_K
    if parameters.targets is None:
        return Candidates(top_k=top_k)
    targets = fill_mask.target_ids(parameters.targets, server.loaded.tokenizer)
    return Candidates(top_k=top_k, targets=tuple(dict.fromkeys(targets)))


def _check_fills(encoded: Sequence[EncodedMask], top_k: int) -> None:
    """Each fill decodes a whole sequence, so their number is bounded like tokens are."""
    fills = top_k * sum(len(text.positions) for text in encoded)
    if fills > MAX_FILLS:
        raise BodyTooLarge(
            f"top_k times the masks makes {fills} fills; at most {MAX_FILLS} are answered at once",
            field="parameters.top_k",
        )


def _reply(encoded: EncodedMask, answer: Ranked, server: Server) -> list[Any]:
    """One list of fills for one mask, a list for each of several."""
    fills = fill_mask.decode(encoded, answer.classes, answer.probabilities, server.loaded.tokenizer)
    items: list[list[JsonItem]] = [[asdict(fill) for fill in mask] for mask in fills]
    return items[0] if len(items) == 1 else items
