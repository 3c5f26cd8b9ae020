"""`head_config.json` -> `HeadConfig`: tagging and masked-LM heads, of flexible and of static models.

A flexible head has its type and build in `config`; a static one (`BertForTokenClassification` and its like) has null
there, and its model class says what it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import BackboneConfig, HeadConfig
from ..errors import InvalidConfig
from ..tasks.ner import OUTSIDE
from .config import Json, hub_activation
from .errors import InvalidHubConfig, UnsupportedHubHead

_STATIC_TYPES = {
    "ForMaskedLM": "masked_lm",
    "ForTokenClassification": "tagging",
    "ForQuestionAnswering": "question_answering",
    "ForSequenceClassification": "classification",
    "ForMultipleChoice": "multiple_choice",
    "ForCausalLM": "causal_lm",
    "LMHeadModel": "causal_lm",
}
_SUPPORTED = ("tagging", "masked_lm")
# Dropout acts in training alone; the label maps are read apart.
_SKIPPED = ("head_type", "dropout_prob", "label2id", "id2label", "shift_labels", "num_labels")
OTHER_OUTSIDE = "0"
"""How several published taggers spell the outside tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubHead:
    """What a `head_config.json` says. `name` is None for the head of a static model, whose tensors carry none."""

    type: str
    name: str | None
    content: Json

    @property
    def is_static(self) -> bool:
        return self.name is None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggingLabels:
    """In the order of the logits. `outside` is the file's own spelling of the outside tag where that is not "O"."""

    labels: tuple[str, ...]
    outside: str | None = None


def read_head_config(content: Json) -> HubHead:
    """Raises `InvalidHubConfig`."""
    fields, model_class = content.get("config"), content.get("model_class")
    if fields is None:
        kind = next((kind for end, kind in _STATIC_TYPES.items() if str(model_class).endswith(end)), str(model_class))
        return HubHead(type=kind, name=None, content=content)
    if not isinstance(fields, Mapping) or not isinstance(fields.get("head_type"), str):
        raise InvalidHubConfig("head_config.json: config.head_type names no type of head")
    name = content.get("name")
    if not isinstance(name, str) or not name or "." in name:
        raise InvalidHubConfig(f"head_config.json: {name!r} names no head")
    return HubHead(type=fields["head_type"], name=name, content=content)


def head_config(head: HubHead, labels: TaggingLabels | None, backbone: BackboneConfig) -> HeadConfig:
    """Raises `UnsupportedHubHead` and `InvalidHubConfig`. A tagging head needs `labels`."""
    if head.type not in _SUPPORTED:
        raise UnsupportedHubHead(
            f"{head.type} heads come with their task and are not imported yet; supported: {', '.join(_SUPPORTED)}"
        )
    if head.type == "masked_lm":
        _check_masked_lm(head, backbone)
        return HeadConfig(type="masked_lm")
    assert labels is not None
    try:
        return _tagging(head, labels.labels)
    except InvalidConfig as error:
        raise InvalidHubConfig(f"head_config.json: {error}") from error


def _fields(head: HubHead, known: Mapping[str, Any]) -> dict[str, Any]:
    """The head's build, defaults filled in. A static head has the default one."""
    fields = {} if head.is_static else dict(head.content["config"])
    for key, value in fields.items():
        if key not in known and key not in _SKIPPED and value:
            raise UnsupportedHubHead(f"the head's option {key} = {value!r} is not known here, so it cannot be computed")
    return {key: fields.get(key, default) for key, default in known.items()}


def _check_masked_lm(head: HubHead, backbone: BackboneConfig) -> None:
    build = {
        "layers": 2,
        "layer_norm": True,
        "bias": True,
        "embedding_size": backbone.hidden_size,
        "vocab_size": backbone.vocab_size,
        "activation_function": backbone.masked_lm_activation,
    }
    for key, value in _fields(head, build).items():
        same = value == build[key]
        if key == "activation_function":
            same = hub_activation(value) == backbone.masked_lm_activation
        if not same:
            raise UnsupportedHubHead(f"its masked_lm head has {key} = {value!r}, the backbone's has {build[key]!r}")


def _tagging(head: HubHead, labels: tuple[str, ...]) -> HeadConfig:
    fields = _fields(head, {"layers": 1, "activation_function": None})
    layers = fields["layers"]
    if layers not in (1, 2) or isinstance(layers, bool):
        raise UnsupportedHubHead(f"its tagging head has {layers!r} linear layers; one or two are supported")
    if layers == 1:  # nothing stands between one layer and nothing
        return HeadConfig(type="tagging", labels=labels)
    activation = hub_activation(fields["activation_function"])
    if activation is None:
        raise UnsupportedHubHead(
            f"its tagging head has {fields['activation_function']!r} between its layers, which is not supported"
        )
    return HeadConfig(type="tagging", labels=labels, layers=2, activation=activation)


def tagging_labels(head: HubHead, given: tuple[str, ...] | None) -> TaggingLabels:
    """`given`, else those of the file; an outside tag "0" becomes "O". Raises `InvalidHubConfig`."""
    fields = head.content if head.is_static else head.content["config"]
    if given is not None:
        return TaggingLabels(labels=given)
    ids = fields.get("label2id") or head.content.get("label2id")
    if not isinstance(ids, Mapping) or not ids:
        raise InvalidHubConfig("head_config.json names no labels (label2id); give them in their order with --labels")
    labels = _by_number(ids)
    spelled_otherwise = (
        OTHER_OUTSIDE in labels and OUTSIDE not in labels and any(label[:2] in ("B-", "I-") for label in labels)
    )
    if not spelled_otherwise:
        return TaggingLabels(labels=labels)
    renamed = tuple(OUTSIDE if label == OTHER_OUTSIDE else label for label in labels)
    return TaggingLabels(labels=renamed, outside=OTHER_OUTSIDE)


def _by_number(ids: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        numbers = {int(number): label for label, number in ids.items()}
    except (TypeError, ValueError) as error:
        raise InvalidHubConfig("head_config.json: label2id holds something that is no number") from error
    if sorted(numbers) != list(range(len(ids))):
        raise InvalidHubConfig(f"head_config.json: label2id does not number its labels from 0 to {len(ids) - 1}")
    return tuple(numbers[number] for number in range(len(ids)))
