"""What an AdapterHub folder is, and which backbone it is for: said by the user, else by the folder, else refused.

The format has no field for language, task or fingerprint. Every assumption becomes a note for the user.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import langcodes

from madx.adapterhub.config import HubAdapter
from madx.adapterhub.errors import UnsupportedHubAdapter, UnsupportedHubHead
from madx.adapterhub.heads import HubHead
from madx.config import Family
from madx.errors import InvalidConfig
from madx.manifest import Kind, canonical_language
from registry.errors import AmbiguousBackbone, UnknownBackbone
from registry.nearest import nearest_names
from registry.values import Backbone

from .errors import ImportUnclear, NoFittingBackbone

TASKS = ("ner",)
"""Tasks that a folder's own name may stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line says. `None` leaves the choice to the folder."""

    language: str | None = None
    task: str | None = None
    labels: tuple[str, ...] | None = None
    composition: str | None = None
    leave_out: tuple[int, ...] | None = None
    with_head: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Language or task is set, as `kind` says; `head` is None where there is none or it stays behind."""

    kind: Kind
    language: str | None = None
    task: str | None = None
    head: HubHead | None = None
    notes: tuple[str, ...] = ()


def decide(adapter: HubAdapter, head: HubHead | None, wishes: Wishes, *, has_inverse: bool) -> Decision:
    """Raises `ImportUnclear`; `UnsupportedHubHead` or `UnsupportedHubAdapter` where the parts do not go together."""
    if _kind(adapter, head, wishes, has_inverse=has_inverse) == "language":
        return _language(adapter, head, wishes)
    return _task(adapter, head, wishes, has_inverse=has_inverse)


def _kind(adapter: HubAdapter, head: HubHead | None, wishes: Wishes, *, has_inverse: bool) -> Kind:
    if wishes.task is not None or wishes.language is not None:
        return "task" if wishes.task is not None else "language"
    if adapter.kind is not None:
        return adapter.kind
    if head is not None and head.type == "masked_lm":
        return "language"
    # A static model writes its own head into every adapter's folder, so beside an inverse it says nothing.
    if has_inverse and (head is None or head.is_static):
        return "language"
    if head is not None and not has_inverse:
        return "task"
    raise ImportUnclear(
        f"nothing in the folder says whether {adapter.name!r} is a language or a task adapter; "
        "give --language CODE or --task TASK"
    )


def _language(adapter: HubAdapter, head: HubHead | None, wishes: Wishes) -> Decision:
    for option, value in (
        ("--labels", wishes.labels),
        ("--composition", wishes.composition),
        ("--leave-out", wishes.leave_out),
    ):
        if value is not None:
            raise ImportUnclear(f"{option} is for task adapters, but this is a language adapter; leave it out")
    notes: list[str] = []
    if head is not None and head.type != "masked_lm":
        notes.append(f"the folder's {head.type} head is not part of a language adapter and was left behind")
        head = None
    if wishes.language is not None:
        code = canonical_language(wishes.language)
    else:
        code = _code_of(adapter)
        notes.append(f"taken for {langcodes.Language.get(code).display_name()} ({code}) by the adapter's name")
    return Decision(kind="language", language=code, head=head, notes=tuple(notes))


def _code_of(adapter: HubAdapter) -> str:
    try:
        return canonical_language(adapter.name)
    except InvalidConfig as error:
        raise ImportUnclear(f"the adapter's name, {adapter.name!r}, is no language; give --language CODE") from error


def _task(adapter: HubAdapter, head: HubHead | None, wishes: Wishes, *, has_inverse: bool) -> Decision:
    if not wishes.with_head:
        raise ImportUnclear("a task adapter is of no use without its head; leave out --without-head")
    if head is None:
        raise UnsupportedHubHead("the folder has no head, and a task adapter answers with its head")
    if head.type == "masked_lm":
        raise UnsupportedHubHead("a masked_lm head belongs to a language adapter; give --language CODE, not --task")
    if has_inverse:
        raise UnsupportedHubAdapter(
            "the folder holds a task adapter with an invertible adapter of its own, which no stack here runs; "
            "if it is a language adapter, give --language CODE"
        )
    if wishes.task is not None:
        return Decision(kind="task", task=wishes.task, head=head)
    if adapter.name not in TASKS:
        raise ImportUnclear(
            f"the folder does not say which task {adapter.name!r} is for; give --task TASK, "
            "or --language CODE if it is a language adapter"
        )
    return Decision(kind="task", task=adapter.name, head=head, notes=(f"taken for {adapter.name} by its name",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a backbone must have. `layers` hold a bottleneck; `vocab_size` is known beside a masked-LM head alone."""

    family: Family
    hidden_size: int
    layers: frozenset[int]
    left_out: tuple[int, ...]
    vocab_size: int | None = None

    def __str__(self) -> str:
        count = len(self.layers | set(self.left_out))
        pieces = "" if self.vocab_size is None else f", {self.vocab_size} pieces"
        return f"{self.family}, {count} {'layer' if count == 1 else 'layers'} of width {self.hidden_size}{pieces}"

    def accepts(self, backbone: Backbone) -> bool:
        config = backbone.config
        return (
            self.family == config.family
            and self.hidden_size == config.hidden_size
            and self.layers | set(self.left_out) == set(range(config.num_layers))
            and self.vocab_size in (None, config.vocab_size)
        )


_SHORTEST_PREFIX = 8


def named_backbone(known: Sequence[Backbone], wanted: str) -> Backbone:
    """By name, fingerprint, or the beginning of a fingerprint. Raises `UnknownBackbone`, `AmbiguousBackbone`."""
    found = [backbone for backbone in known if wanted in (backbone.name, backbone.fingerprint)]
    if not found and len(wanted) >= _SHORTEST_PREFIX:
        found = [backbone for backbone in known if backbone.fingerprint.startswith(wanted)]
    if not found:
        raise UnknownBackbone(
            f"no backbone {wanted!r}; add it with `glossa backbones add`",
            nearest=nearest_names(wanted, [backbone.name for backbone in known]),
        )
    if len(found) > 1:
        raise AmbiguousBackbone(
            f"several backbones answer to {wanted!r}; use a fingerprint",
            candidates=[backbone.fingerprint for backbone in found],
        )
    return found[0]


def choose_backbone(known: Sequence[Backbone], fit: Fit, *, named: bool, model_name: str | None) -> Backbone:
    """The only one of `known` that fits; `named` says that the user gave it.

    Raises `NoFittingBackbone`, and `AmbiguousBackbone` with the candidates.
    """
    fitting = [backbone for backbone in known if fit.accepts(backbone)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise AmbiguousBackbone(
            f"several backbones fit the adapter ({fit}); choose one with --backbone",
            candidates=[f"{backbone.name} ({backbone.fingerprint[:12]})" for backbone in fitting],
        )
    if named:
        raise NoFittingBackbone(f"the adapter is for {fit}; {known[0].name} is {_shape(known[0])}")
    hint = f" {model_name}" if model_name else " FOLDER|NAME"
    have = "; ".join(f"{backbone.name}: {_shape(backbone)}" for backbone in known) or "none"
    raise NoFittingBackbone(
        f"no backbone of the registry fits the adapter ({fit}); add its own with `glossa backbones add{hint}` "
        f"(known: {have})"
    )


def _shape(backbone: Backbone) -> str:
    config = backbone.config
    return f"{config.family}, {config.num_layers} layers of width {config.hidden_size}, {config.vocab_size} pieces"
