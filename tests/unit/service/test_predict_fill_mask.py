"""`fill-mask` over HTTP, held against the network run without a server, through the inverse."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from madx.bank import Bank
from madx.checkpoint import from_safetensors
from madx.forward import Row, infer
from madx.plan import RowStack
from madx.tasks import fill_mask
from tests.support.served import Home

TEXT = "Juma lives in <mask> and works"


def probabilities(home: Home, text: str, language: str | None) -> list[list[float]]:
    """Over the vocabulary, for each mask."""
    bank = Bank(home.loaded.config)
    stack = RowStack()
    if language is not None:
        version = home.version(language)
        with home.registry() as registry, registry.store.open(version.weights_digest) as stream:
            stack = RowStack(
                language=bank.add(bank.stage(from_safetensors(stream.read(), version.manifest, home.loaded.config)))
            )
    encoded = fill_mask.encode(text, home.loaded.tokenizer, max_tokens=home.loaded.config.max_tokens)
    row = Row(input_ids=encoded.input_ids, positions=encoded.positions, stack=stack)
    scores: list[list[float]] = infer(home.loaded.backbone, bank, [row])[0].softmax(-1).tolist()
    return scores


def ask(client: TestClient, inputs: object, **parameters: object) -> Any:
    response = client.post("/v1/predict/fill-mask", json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    return response.json()


def best(scores: list[float], count: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda token: -scores[token])[:count]


@pytest.mark.parametrize("language", [None, "en", "sw"])
def test_the_likeliest_pieces_come_first(home: Home, client: TestClient, language: str | None) -> None:
    reply = ask(client, TEXT, **({} if language is None else {"language": language}))
    (scores,) = probabilities(home, TEXT, language)
    assert [fill["token"] for fill in reply] == best(scores, 5)
    assert [fill["score"] for fill in reply] == [pytest.approx(scores[token], abs=1e-6) for token in best(scores, 5)]
    tokenizer = home.loaded.tokenizer
    for fill in reply:
        assert set(fill) == {"score", "token", "token_str", "sequence"}
        assert fill["token_str"] == tokenizer.decode([fill["token"]])
        assert fill["token_str"] in fill["sequence"]


def test_the_invertible_adapter_has_a_say(home: Home) -> None:
    assert home.version("en").manifest.config.invertible is not None
    assert probabilities(home, TEXT, "en") != probabilities(home, TEXT, None)


def test_several_masks_are_answered_by_a_list_of_lists(home: Home, client: TestClient) -> None:
    text = "<mask> lives in <mask>"
    reply = ask(client, text, language="en", top_k=2)
    assert [[fill["token"] for fill in mask] for mask in reply] == [
        best(scores, 2) for scores in probabilities(home, text, "en")
    ]
    first, second = ask(client, [TEXT, text], language="en", top_k=2)
    assert [fill["token"] for fill in first] == best(probabilities(home, TEXT, "en")[0], 2)
    assert [[fill["token"] for fill in mask] for mask in second] == [[f["token"] for f in mask] for mask in reply]


def test_each_text_of_a_list_may_have_its_own_language(home: Home, client: TestClient) -> None:
    reply = ask(client, [TEXT, TEXT], language=["en", "sw"])
    assert [[fill["token"] for fill in fills] for fills in reply] == [
        best(probabilities(home, TEXT, language)[0], 5) for language in ("en", "sw")
    ]


def test_targets_limit_the_candidates_and_keep_their_probabilities(home: Home, client: TestClient) -> None:
    tokenizer = home.loaded.tokenizer
    reply = ask(client, TEXT, targets=["Nairobi", "leo", "Nairobi", "Paris"])
    (scores,) = probabilities(home, TEXT, None)
    wanted = [tokenizer.piece_id(f"▁{word}") for word in ("Nairobi", "leo", "Paris")]
    assert [fill["token"] for fill in reply] == sorted(wanted, key=lambda token: -scores[token or 0])
    assert [fill["score"] for fill in reply] == [pytest.approx(scores[fill["token"]], abs=1e-6) for fill in reply]


def test_headers_name_the_language_adapter_alone(client: TestClient) -> None:
    headers = client.post("/v1/predict/fill-mask?language=swa", json={"inputs": TEXT}).headers
    assert headers["x-glossa-language-adapter"] == "sw@1"
    assert "x-glossa-adapter" not in headers


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "field"),
    [
        ("no gap here", {}, 422, "inputs"),
        (["<mask>", "no gap here"], {}, 422, "inputs.1"),
        ("<mask>" + " leo" * 200, {}, 413, "inputs"),
        (TEXT, {"targets": ["Nairobi leo"]}, 422, "parameters.targets"),
        (TEXT, {"targets": []}, 422, "parameters.targets"),
        (TEXT, {"top_k": 0}, 422, "parameters.top_k"),
        (TEXT, {"top_k": 101}, 422, "parameters.top_k"),
        (TEXT, {"top_k": "3"}, 422, "parameters.top_k"),
        (TEXT, {"adapter": "ner"}, 422, "parameters.adapter"),
        (TEXT, {"stride": 3}, 422, "parameters.stride"),
        (["<mask> " * 100] * 3, {"top_k": 100}, 413, "parameters.top_k"),
    ],
)
def test_what_cannot_be_filled_is_refused_with_its_field(
    client: TestClient, inputs: object, parameters: dict[str, object], status: int, field: str
) -> None:
    response = client.post("/v1/predict/fill-mask", json={"inputs": inputs, "parameters": parameters})
    assert (response.status_code, response.json()["field"]) == (status, field)
