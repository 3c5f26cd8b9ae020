"""What a request names -> which versions run. Queries the registry; torch-free.

Explicit references win; then the only adapter of the task or language; then its default; else the request is
ambiguous. A task adapter's composition decides whether a language is needed.
"""

from dataclasses import dataclass

from madx.errors import InvalidInput, NoMaskedLMHead
from madx.manifest import Kind
from registry import catalog
from registry.errors import InvalidName
from registry.references import AdapterRef, parse_reference
from registry.registry import Registry
from registry.values import Version

from .errors import LanguageMissing
from .schemas import StackParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The backbone that is served."""

    fingerprint: str
    num_layers: int
    masked_lm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The versions that run, and the layers in which the language adapter does not act."""

    language: Version | None
    task: Version | None
    leave_out: tuple[int, ...] = ()


def resolve_task(registry: Registry, target: Target, task: str, code: str | None, parameters: StackParameters) -> Stack:
    """The stack, for a text in language `code`, of a task that has adapters and heads of its own."""
    adapter = _task_adapter(registry, target, task, parameters)
    composition = adapter.manifest.composition
    assert composition is not None  # the manifest of every task adapter has one
    if "language_adapter" in parameters.model_fields_set:
        language = _named_language(registry, target, parameters.language_adapter)
    elif composition.language == "none":
        language = None
    elif composition.language != "swapped":
        language = _referenced(registry, target, composition.language, kind="language", field="parameters.adapter")
    elif code is None:
        raise LanguageMissing(
            f"{adapter.reference} runs on the adapter of the text's language; name the language as "
            "parameters.language or ?language=, or set parameters.language_adapter to null for none"
        )
    else:
        language = _chosen_language(registry, target, code)
    return Stack(
        language=language, task=adapter, leave_out=_leave_out(target, parameters, composition.leave_out, language)
    )


def resolve_masked_lm(registry: Registry, target: Target, code: str | None, parameters: StackParameters) -> Stack:
    """The stack of fill-mask: the language adapter of the language asked for, or none."""
    if parameters.adapter is not None:
        raise InvalidInput("fill-mask runs without a task adapter; leave this out", field="parameters.adapter")
    if "language_adapter" in parameters.model_fields_set:
        language = _named_language(registry, target, parameters.language_adapter)
    elif code is not None:
        language = _chosen_language(registry, target, code)
    else:
        language = None
    if not target.masked_lm and (language is None or language.manifest.head is None):
        raise NoMaskedLMHead("the served backbone has no masked-LM head, so it cannot fill masks; serve one that has")
    return Stack(language=language, task=None, leave_out=_leave_out(target, parameters, (), language))


def _task_adapter(registry: Registry, target: Target, task: str, parameters: StackParameters) -> Version:
    if "adapter" not in parameters.model_fields_set:
        return catalog.choose(registry, kind="task", key=task, fingerprint=target.fingerprint)
    if parameters.adapter is None:
        raise InvalidInput(f"{task} needs a task adapter, whose head reads the text", field="parameters.adapter")
    version = _referenced(registry, target, parameters.adapter, kind="task", field="parameters.adapter")
    if version.task != task:
        raise InvalidInput(
            f"{version.reference} is an adapter for {version.task}, not {task}", field="parameters.adapter"
        )
    return version


def _named_language(registry: Registry, target: Target, named: str | None) -> Version | None:
    if named is None:
        return None
    return _referenced(registry, target, named, kind="language", field="parameters.language_adapter")


def _chosen_language(registry: Registry, target: Target, language: str) -> Version:
    return catalog.choose(registry, kind="language", key=language, fingerprint=target.fingerprint)


def _referenced(registry: Registry, target: Target, text: str, *, kind: Kind, field: str) -> Version:
    version = catalog.resolve(registry, _reference(text, field), fingerprint=target.fingerprint)
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
