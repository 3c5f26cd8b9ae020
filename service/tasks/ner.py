"""`ner` over HTTP: a Hugging Face token-classification request -> rows, and tagged words -> its reply."""

from collections.abc import Sequence
from typing import Any, cast

from madx.errors import InvalidInput
from madx.tasks import ner
from madx.tasks.ner import EncodedText, Entity

from ..readout import AllLogits, Logits, RowAnswer
from ..resolve import Stack, resolve_task
from ..schemas import NerParameters, NerRequest, read_request, read_texts, with_query
from ..state import Server
from ..work import AskedRow
from .prepared import Asked, JsonItem, Prepared, asked, encode_each

NAME = "ner"


def read(content: bytes, language: str | None, server: Server) -> Asked:
    request = read_request(content, NerRequest)
    parameters = with_query(request.parameters or NerParameters(), language)
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
        lambda lookups, code: resolve_task(lookups, target, NAME, code, parameters),
        lambda stacks: _prepared(texts, stacks, parameters, server, single=single),
    )


def _prepared(
    texts: Sequence[str], stacks: tuple[Stack, ...], parameters: NerParameters, server: Server, *, single: bool
) -> Prepared:
    overlap = _overlap(parameters, server.max_tokens)
    encoded = encode_each(
        texts,
        lambda text: ner.encode(text, server.loaded.tokenizer, max_tokens=server.max_tokens, overlap=overlap),
        single=single,
    )

    def reply(answers: Sequence[RowAnswer]) -> list[Any]:
        replies = _decode(encoded, cast(Sequence[Logits], answers), stacks, parameters)
        return replies[0] if single else replies

    rows = tuple(row for text, stack in zip(encoded, stacks, strict=True) for row in _rows(text, stack))
    tokens = sum(len(row.input_ids) for row in rows)
    return Prepared(is_single=single, stacks=stacks, rows=rows, reply=reply, reply_tokens=tokens)


def _overlap(parameters: NerParameters, max_tokens: int) -> int | None:
    """More than half a row would make the work grow with the stride, not with the text."""
    largest = (max_tokens - 2) // 2
    if parameters.stride is not None and parameters.stride > largest:
        raise InvalidInput(f"stride may be at most {largest} tokens, half a window", field="parameters.stride")
    return parameters.stride


def _rows(encoded: EncodedText, stack: Stack) -> list[AskedRow]:
    return [
        AskedRow(
            input_ids=window.input_ids,
            positions=window.positions,
            language=stack.language,
            task=stack.task,
            leave_out=stack.leave_out,
            readout=AllLogits(),
        )
        for window in encoded.windows
    ]


def _decode(
    encoded: Sequence[EncodedText], answers: Sequence[Logits], stacks: Sequence[Stack], parameters: NerParameters
) -> list[list[JsonItem]]:
    aggregation = parameters.aggregation_strategy or "simple"
    ignored = (ner.OUTSIDE,) if parameters.ignore_labels is None else tuple(parameters.ignore_labels)
    replies: list[list[JsonItem]] = []
    done = 0
    for text, stack in zip(encoded, stacks, strict=True):
        logits = answers[done : done + len(text.windows)]
        done += len(text.windows)
        entities = ner.decode(text, logits, _labels(stack), aggregation=aggregation, ignore_labels=ignored)
        replies.append([_item(entity, text.text) for entity in entities])
    return replies


def _labels(stack: Stack) -> tuple[str, ...]:
    assert stack.task is not None
    assert stack.task.manifest.head is not None  # the manifest of every task adapter has one
    return stack.task.manifest.head.labels


def _item(entity: Entity, text: str) -> JsonItem:
    place: JsonItem = {"word": text[entity.start : entity.end], "start": entity.start, "end": entity.end}
    if entity.index is None:
        return {"entity_group": entity.label, "score": entity.score} | place
    return {"entity": entity.label, "score": entity.score, "index": entity.index} | place
