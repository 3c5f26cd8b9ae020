"""AdapterHub's head_config.json: labels in the order of the logits, builds that are supported, and the rest refused."""

from typing import Any

import pytest

from madx.adapterhub.errors import InvalidHubConfig, UnsupportedHubHead
from madx.adapterhub.heads import TaggingLabels, head_config, read_head_config, tagging_labels
from madx.adapterhub.writing import write_head_config
from madx.config import HeadConfig
from tests.support import hub_folders
from tests.support.hub_folders import BACKBONE

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
MASKED_LM: dict[str, Any] = {
    "activation_function": "gelu",
    "bias": True,
    "embedding_size": 32,
    "head_type": "masked_lm",
    "label2id": None,
    "layer_norm": True,
    "layers": 2,
    "shift_labels": False,
    "vocab_size": 50,
}
STATIC: dict[str, Any] = {"config": None, "name": None, "num_labels": 2}


def read(content: dict[str, Any], labels: tuple[str, ...] | None = None) -> HeadConfig:
    head = read_head_config(content)
    return head_config(head, tagging_labels(head, labels) if head.type == "tagging" else None, BACKBONE)


def test_a_published_tagger_with_its_outside_tag() -> None:
    head = read_head_config(hub_folders.head_config())
    labels = tagging_labels(head, None)
    assert labels == TaggingLabels(labels=LABELS, outside="0")
    assert head_config(head, labels, BACKBONE) == HeadConfig(type="tagging", labels=LABELS)
    written = write_head_config(
        HeadConfig(type="tagging", labels=LABELS), name="ner", backbone=BACKBONE, model_name="xlm-roberta-base",
        outside="0",
    )  # fmt: skip
    assert written["config"] == hub_folders.TAGGING


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ({"X": 1, "O": 0}, ("O", "X")),
        ({"B-X": "1", "O": "0"}, ("O", "B-X")),
        ({"0": 0, "1": 1}, ("0", "1")),
        ({"0": 0, "O": 1, "B-X": 2}, ("0", "O", "B-X")),
    ],
)
def test_labels_keep_their_order_and_zero_is_outside_only_among_tags(
    ids: dict[str, Any], labels: tuple[str, ...]
) -> None:
    found = tagging_labels(read_head_config(hub_folders.head_config(label2id=ids)), None)
    assert found == TaggingLabels(labels=labels)


def test_given_labels_win_and_fill_what_is_missing() -> None:
    for content in (hub_folders.head_config(), hub_folders.head_config(label2id=None)):
        assert read(content, ("a", "b")).labels == ("a", "b")


@pytest.mark.parametrize("ids", [None, {}, {"O": 0, "B": 2}, {"O": 1, "B": 2}, {"O": 0, "B": "one"}, {"O": 0, "B": 0}])
def test_labels_that_number_nothing(ids: Any) -> None:
    with pytest.raises(InvalidHubConfig, match=r"head_config\.json"):
        read(hub_folders.head_config(label2id=ids))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"layers": 1, "activation_function": "leaky_relu"}, {"layers": 1, "activation": "tanh"}),
        ({"layers": 2, "activation_function": "tanh"}, {"layers": 2, "activation": "tanh"}),
        ({"layers": 2, "activation_function": "gelu", "dropout_prob": 0.3}, {"layers": 2, "activation": "gelu"}),
        ({"layers": 2, "activation_function": "swish"}, {"layers": 2, "activation": "silu"}),
    ],
)
def test_builds_of_taggers(options: dict[str, Any], expected: dict[str, Any]) -> None:
    head = read(hub_folders.head_config(**options))
    assert head == HeadConfig(type="tagging", labels=LABELS, **expected)
    written = write_head_config(head, name="ner", backbone=BACKBONE, model_name="x")
    assert read(dict(written)) == head


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layers": 3}, "3 linear layers"),
        ({"layers": 2, "activation_function": None}, "None between its layers"),
        ({"layers": 2, "activation_function": "leakyrelu"}, "'leakyrelu' between its layers"),
        ({"use_pooler": True}, "option use_pooler = True"),
        *(
            ({"head_type": kind}, f"{kind} heads come with their task")
            for kind in ("question_answering", "classification", "multiple_choice", "dependency_parsing", "causal_lm")
        ),
    ],
)
def test_other_heads_are_refused_by_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UnsupportedHubHead, match=says):
        read(hub_folders.head_config(**options))


def test_a_masked_lm_head_is_the_backbones_build() -> None:
    content = hub_folders.head_config("eu", top={"config": MASKED_LM})
    assert read(content) == HeadConfig(type="masked_lm")
    written = write_head_config(HeadConfig(type="masked_lm"), name="eu", backbone=BACKBONE, model_name="x")
    assert written["config"] == MASKED_LM


@pytest.mark.parametrize(
    "option",
    [{"layers": 1}, {"layer_norm": False}, {"bias": False}, {"embedding_size": 16}, {"vocab_size": 51},
     {"activation_function": "relu"}, {"activation_function": None}],
)  # fmt: skip
def test_a_masked_lm_head_of_another_build_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedHubHead, match=f"masked_lm head has {next(iter(option))}"):
        read(hub_folders.head_config("eu", top={"config": MASKED_LM | option}))


def test_heads_of_static_models() -> None:
    tagger = STATIC | {"model_class": "BertForTokenClassification", "label2id": {"O": 0, "B-X": 1}}
    assert read_head_config(tagger).is_static
    assert read(tagger) == HeadConfig(type="tagging", labels=("O", "B-X"))
    assert read(STATIC | {"model_class": "XLMRobertaForMaskedLM"}) == HeadConfig(type="masked_lm")
    for model, kind in (("BertForQuestionAnswering", "question_answering"), ("SomeNewModel", "SomeNewModel")):
        with pytest.raises(UnsupportedHubHead, match=f"^{kind} heads"):
            read(STATIC | {"model_class": model})


@pytest.mark.parametrize(
    "content", [{"config": {}}, {"config": []}, {"config": {"head_type": "tagging"}, "name": None}]
)
def test_a_head_without_type_or_name(content: dict[str, Any]) -> None:
    with pytest.raises(InvalidHubConfig, match=r"head_config\.json"):
        read_head_config(content)
