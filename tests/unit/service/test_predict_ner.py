"""`ner` over HTTP, held against the network run row by row without a server."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from madx.bank import Bank
from madx.checkpoint import from_safetensors
from madx.forward import Row, infer
from madx.plan import BARE, IDENTITY, RowStack, Slot
from madx.tasks import ner
from tests.support.served import Home

TEXT = "Amina Juma works in Nairobi for Acme."
EMOJI = "🦁 Juma lives in München – leo."


def expected(home: Home, text: str, language: str | None, **options: Any) -> list[dict[str, Any]]:
    """The reply, from one text on its own."""
    bank = Bank(home.loaded.config)

    def slot(name: str | None) -> Slot:
        if name is None:
            return IDENTITY
        version = home.version(name)
        with home.registry() as registry, registry.store.open(version.weights_digest) as stream:
            return bank.add(bank.stage(from_safetensors(stream.read(), version.manifest, home.loaded.config)))

    stack = RowStack(language=slot(language), task=slot("ner"), leave_out=options.pop("leave_out", ()))
    encoded = ner.encode(text, home.loaded.tokenizer, max_tokens=home.loaded.config.max_tokens)
    logits = [
        infer(home.loaded.backbone, bank, [Row(input_ids=w.input_ids, positions=w.positions, stack=stack)])[0].numpy()
        for w in encoded.windows
    ]
    head = home.version("ner").manifest.head
    assert head is not None
    assert stack != BARE
    return [
        {
            ("entity_group" if entity.index is None else "entity"): entity.label,
            "score": pytest.approx(entity.score, abs=1e-5),
            "word": text[entity.start : entity.end],
            "start": entity.start,
            "end": entity.end,
        }
        | ({} if entity.index is None else {"index": entity.index})
        for entity in ner.decode(encoded, logits, head.labels, **options)
    ]


def ask(client: TestClient, inputs: object, query: str = "", **parameters: object) -> Any:
    response = client.post(f"/v1/predict/ner{query}", json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("text", [TEXT, EMOJI, "leo", " ".join([TEXT] * 30)], ids=["plain", "emoji", "word", "long"])
@pytest.mark.parametrize("language", ["en", "sw"])
def test_the_reply_is_what_the_text_alone_gives(home: Home, client: TestClient, text: str, language: str) -> None:
    reply = ask(client, text, language=language)
    assert reply == expected(home, text, language)
    assert reply
    assert [text[item["start"] : item["end"]] for item in reply] == [item["word"] for item in reply]


def test_languages_differ(home: Home) -> None:
    assert expected(home, TEXT, "en") != expected(home, TEXT, "sw") != expected(home, TEXT, None)


def test_words_are_not_aggregated_on_request(home: Home, client: TestClient) -> None:
    reply = ask(client, TEXT, language="sw", aggregation_strategy="none", ignore_labels=[])
    assert reply == expected(home, TEXT, "sw", aggregation="none", ignore_labels=())
    assert [item["index"] for item in reply] == list(range(1, len(reply) + 1))


def test_ignored_labels_are_left_out(client: TestClient) -> None:
    groups = {item["entity_group"] for item in ask(client, TEXT, language="sw", ignore_labels=[])}
    ignored = groups.pop()
    assert ignored not in {item["entity_group"] for item in ask(client, TEXT, language="sw", ignore_labels=[ignored])}


def test_a_list_of_texts_is_answered_by_a_list_of_lists(home: Home, client: TestClient) -> None:
    texts = [TEXT, " ".join([EMOJI] * 40), "leo"]
    assert ask(client, texts, language="sw") == [expected(home, text, "sw") for text in texts]
    assert ask(client, [TEXT], language="sw") == [expected(home, TEXT, "sw")]


def test_nothing_of_a_long_text_is_cut(client: TestClient) -> None:
    text = " ".join([TEXT] * 60)
    words = ask(client, text, language="sw", aggregation_strategy="none", ignore_labels=[])
    assert "".join(item["word"] for item in words) == text.replace(" ", "")
    overlapped = ask(client, text, language="sw", aggregation_strategy="none", ignore_labels=[], stride=50)
    assert [item["word"] for item in overlapped] == [item["word"] for item in words]


def test_each_text_of_a_list_may_have_its_own_language(home: Home) -> None:
    texts, languages = [TEXT, EMOJI, " ".join([TEXT] * 20), TEXT], ["sw", "eng", "en", "en"]
    with home.client() as client:
        body = {"inputs": texts, "parameters": {"language": languages}}
        response = client.post("/v1/predict/ner", json=body)
        metrics = client.get("/metrics").text
    assert response.json() == [
        expected(home, text, language[:2]) for text, language in zip(texts, languages, strict=True)
    ]
    assert response.headers["x-glossa-language-adapter"] == "sw@1, en@1"
    assert response.headers["x-glossa-adapter"] == "ner@1"
    assert "glossa_batch_rows_count 1.0" in metrics


@pytest.mark.parametrize("query", ["?language=sw", "?language=swa", "?language=SW"])
def test_the_language_may_come_in_the_address(home: Home, client: TestClient, query: str) -> None:
    assert ask(client, TEXT, query) == expected(home, TEXT, "sw")


def test_the_body_wins_over_the_address(home: Home, client: TestClient) -> None:
    assert ask(client, TEXT, "?language=en", language="swa") == expected(home, TEXT, "sw")


def test_layers_may_be_left_out(home: Home, client: TestClient) -> None:
    assert ask(client, TEXT, language="sw", leave_out=[1]) == expected(home, TEXT, "sw", leave_out=(1,))
    assert ask(client, TEXT, language="sw", leave_out=[0, 1]) == expected(home, TEXT, None)


def test_no_language_adapter_on_request(home: Home, client: TestClient) -> None:
    assert ask(client, TEXT, language_adapter=None) == expected(home, TEXT, None)


def test_the_headers_say_what_ran_and_how_long(client: TestClient) -> None:
    headers = client.post("/v1/predict/ner?language=sw", json={"inputs": TEXT}).headers
    assert headers["x-glossa-adapter"] == "ner@1"
    assert headers["x-glossa-language-adapter"] == "sw@1"
    assert int(headers["x-compute-tokens"]) > 5
    total, *parts = (float(headers[f"x-{name}-time"]) for name in ("total", "tokenization", "queue", "inference"))
    assert total >= max(parts) > 0
    bare = client.post("/v1/predict/ner", json={"inputs": TEXT, "parameters": {"language_adapter": None}}).headers
    assert "x-glossa-language-adapter" not in bare


def test_options_that_other_servers_take_are_ignored(client: TestClient) -> None:
    body = {"inputs": TEXT, "parameters": None, "options": {"wait_for_model": True}}
    assert client.post("/v1/predict/ner?language=sw", json=body).status_code == 200


def test_small_batches_give_the_same_answers(home: Home) -> None:
    text = " ".join([TEXT] * 20)
    with home.client(batch_tokens=64) as client:
        words = ask(client, text, language="sw", aggregation_strategy="none", ignore_labels=[])
        assert "".join(item["word"] for item in words) == text.replace(" ", "")
        assert ask(client, TEXT, language="sw") == expected(home, TEXT, "sw")
