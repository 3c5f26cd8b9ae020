"""What a request names -> which versions run. `Lookups` asks the registry, or remembers what it said; torch-free.

Explicit references win; then the only adapter of the task or language; then its default; else the request is
ambiguous. A task adapter's composition decides whether a language is needed.
"""

from dataclasses import dataclass
from typing import Protocol

from madx.errors import InvalidInput, NoMaskedLMHead
from madx.manifest import Kind
from registry.errors import InvalidName
from registry.references import AdapterRef, parse_reference
from registry.values import Version

from .errors import LanguageMissing
from .schemas import StackParameters

Question = AdapterRef | tuple[Kind, str]
"""What a request names: a reference, or a kind and the language or task of the default."""


class Lookups(Protocol):
    """The registry's two answers, for the backbone that is served."""

    def find(self, reference: AdapterRef) -> Version:
        """The version that a reference stands for."""

    def choose(self, kind: Kind, key: str) -> Version:
        """What runs where a request names no adapter for this language or task."""


class Once:
    """`lookups`, where each question is asked once and its first answer holds.

    For one request: a reference may go over to another version at any moment, and all texts must run on the same one.
    """

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._found: dict[Question, Version] = {}

    def find(self, reference: AdapterRef) -> Version:
        if reference not in self._found:
            self._found[reference] = self._lookups.find(reference)
        return self._found[reference]

    def choose(self, kind: Kind, key: str) -> Version:
        if (kind, key) not in self._found:
            self._found[kind, key] = self._lookups.choose(kind, key)
        return self._found[kind, key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The backbone that is served."""

    num_layers: int
    masked_lm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The versions that run, and the layers in which the language adapter does not act."""

    language: Version | None
    task: Version | None
    leave_out: tuple[int, ...] = ()


def resolve_task(lookups: Lookups, target: Target, task: str, code: str | None, parameters: StackParameters) -> Stack:
    """The stack, for a text in language `code`, of a task that has adapters and heads of its own."""
    adapter = _task_adapter(lookups, task, parameters)
    composition = adapter.manifest.composition
    assert composition is not None  # the manifest of every task adapter has one
    if "language_adapter" in parameters.model_fields_set:
        language = _named_language(lookups, parameters.language_adapter)
    elif composition.language == "none":
        language = None
    elif composition.language != "swapped":
        language = _referenced(lookups, composition.language, kind="language", field="parameters.adapter")
    elif code is None:
        raise LanguageMissing(
            f"{adapter.reference} runs on the adapter of the text's language; name the language as "
            "parameters.language or ?language=, or set parameters.language_adapter to null for none"
        )
    else:
        language = lookups.choose("language", code)
    return Stack(
        language=language, task=adapter, leave_out=_leave_out(target, parameters, composition.leave_out, language)
    )


def resolve_masked_lm(lookups: Lookups, target: Target, code: str | None, parameters: StackParameters) -> Stack:
    """The stack of fill-mask: the language adapter of the language asked for, or none."""
    if parameters.adapter is not None:
        raise InvalidInput("fill-mask runs without a task adapter; leave this out", field="parameters.adapter")
    if "language_adapter" in parameters.model_fields_set:
        language = _named_language(lookups, parameters.language_adapter)
    elif code is not None:
        language = lookups.choose("language", code)
    else:
        language = None
    if not target.masked_lm and (language is None or language.manifest.head is None):
        raise NoMaskedLMHead("the served backbone has no masked-LM head, so it cannot fill masks; serve one that has")
    return Stack(language=language, task=None, leave_out=_leave_out(target, parameters, (), language))


def _task_adapter(lookups: Lookups, task: str, parameters: StackParameters) -> Version:
    if "adapter" not in parameters.model_fields_set:
        return lookups.choose("task", task)
    if parameters.adapter is None:
        raise InvalidInput(f"{task} needs a task adapter, whose head reads the text", field="parameters.adapter")
    version = _referenced(lookups, parameters.adapter, kind="task", field="parameters.adapter")
    if version.task != task:
        raise InvalidInput(
            f"{version.reference} is an adapter for {version.task}, not {task}", field="parameters.adapter"
        )
    return version


def _named_language(lookups: Lookups, named: str | None) -> Version | None:
    if named is None:
        return None
    return _referenced(lookups, named, kind="language", field="parameters.language_adapter")


def _referenced(lookups: Lookups, text: str, *, kind: Kind, field: str) -> Version:
    version = lookups.find(_reference(text, field))
    if version.kind != kind:
        raise InvalidInput(f"{version.reference} is a {version.kind} adapter, not a {kind} adapter", field=field)
    return version


def _reference(text: str, field: str) -> AdapterRef:
    try:
        return parse_reference(text)
    except InvalidName as error:
        raise InvalidInput(str(error), field=field) from error


def _leave_out(
    target: Target, parameters: StackParameters, composed: tuple[int, ...], language: Version | None
) -> tuple[int, ...]:
    asked = composed if parameters.leave_out is None else tuple(sorted(set(parameters.leave_out)))
    if any(not 0 <= layer < target.num_layers for layer in asked):
        raise InvalidInput(f"the backbone's layers are 0 to {target.num_layers - 1}", field="parameters.leave_out")
    return asked if language is not None else ()
