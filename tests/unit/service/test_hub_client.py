"""`huggingface_hub.InferenceClient`, unchanged, against a real web server on loopback."""

import threading
from collections.abc import Iterator

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.support.live import serving
from tests.support.served import PATIENCE_S, Home

TEXT = "Amina Juma works in Nairobi for Acme."


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    with serving(home) as live:
        yield live.address


def test_token_classification(address: str) -> None:
    client = InferenceClient(model=f"{address}/v1/predict/ner?language=sw", token="unused")
    entities = client.token_classification(TEXT)
    assert entities
    for entity in entities:
        assert entity.start is not None
        assert entity.end is not None
        assert entity.word == TEXT[entity.start : entity.end]
        assert entity.entity_group in {"PER", "LOC", "ORG"}
        assert 0 < entity.score <= 1
    words = client.token_classification(TEXT, aggregation_strategy="none", ignore_labels=["O"], stride=10)
    assert {word.entity for word in words} <= {"B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"}


def test_fill_mask(address: str) -> None:
    client = InferenceClient(model=f"{address}/v1/predict/fill-mask?language=en", token="unused")
    fills = client.fill_mask("Juma lives in <mask> and works")
    assert len(fills) == 5
    assert [fill.score for fill in fills] == sorted((fill.score for fill in fills), reverse=True)
    assert all(fill.token_str in fill.sequence for fill in fills)
    (only,) = client.fill_mask("Juma lives in <mask>", targets=["Nairobi", "Paris"], top_k=1)
    assert only.token_str in {"Nairobi", "Paris"}


def test_a_refusal_shows_its_reason(address: str) -> None:
    client = InferenceClient(model=f"{address}/v1/predict/ner?language=swx", token="unused")
    with pytest.raises(HfHubHTTPError, match="no adapter for language 'swx'"):
        client.token_classification(TEXT)


def test_many_clients_at_once_get_their_own_answers(address: str) -> None:
    def ask(language: str, text: str) -> list[tuple[str | None, int | None]]:
        client = InferenceClient(model=f"{address}/v1/predict/ner?language={language}", token="unused")
        return [(entity.word, entity.start) for entity in client.token_classification(text, ignore_labels=[])]

    cases = [(language, " ".join([TEXT] * count)) for language in ("sw", "en") for count in (1, 2, 5, 9)]
    alone = [ask(*case) for case in cases]
    together: dict[int, list[tuple[str | None, int | None]]] = {}
    threads = [
        threading.Thread(target=lambda index=index: together.update({index: ask(*cases[index])}))
        for index in range(len(cases))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [together[index] for index in range(len(cases))] == alone
