"""What can be asked for: the items of /v1/adapters, /v1/languages and /v1/tasks. Queries the registry."""

from collections.abc import Iterable
from typing import Any

from langcodes import Language

from madx.manifest import Kind
from registry import catalog
from registry.errors import AmbiguousAdapter, NotFound, WrongBackbone
from registry.values import Version

from .state import Server
from .tasks import fill_mask, ner

Item = dict[str, Any]


def adapters(server: Server) -> list[Item]:
    """Every live version of every adapter, whatever backbone it is for."""
    return [
        {
            "reference": version.reference,
            "name": version.name,
            "version": version.number,
            "aliases": [alias.alias for alias in adapter.aliases if alias.number == version.number],
            "kind": version.kind,
            "language": version.language,
            "task": version.task,
            "labels": _labels([version]),
            "fingerprint": version.fingerprint,
            "servable": version.fingerprint == server.loaded.fingerprint,
            "digest": version.manifest_digest,
            "size_bytes": version.size_bytes,
            "created_at": version.created_at.isoformat(),
        }
        for adapter in catalog.list_adapters(server.registry)
        for version in adapter.versions
    ]


def languages(server: Server) -> list[Item]:
    """The languages that the served backbone has an adapter for, by code."""
    found = catalog.list_adapters(server.registry, kind="language", fingerprint=server.loaded.fingerprint)
    codes = sorted({adapter.language for adapter in found if adapter.language is not None})
    return [_language(server, code) for code in codes]


def _language(server: Server, code: str) -> Item:
    language = Language.get(code)
    return {
        "code": code,
        "name": language.display_name(),
        "iso639_3": language.to_alpha3(),
        "adapters": [version.reference for version in _candidates(server, "language", code)],
        "default": _default(server, "language", code),
    }


def tasks(server: Server) -> list[Item]:
    """The tasks that the served backbone can answer, each with a body that works."""
    items: list[Item] = []
    taggers = _candidates(server, "task", ner.NAME)
    if taggers:
        items.append(_ner(server, taggers))
    if server.target.masked_lm:
        mask = server.loaded.tokenizer.mask_token
        example: Item = {"inputs": f"Nairobi is the capital of {mask}."}
        code = _example_language(server)
        if code is not None:
            example["parameters"] = {"language": code}
        items.append(
            {
                "task": fill_mask.NAME,
                "labels": [],
                "adapters": [],
                "default": None,
                "needs_language": False,
                "example": example,
            }
        )
    return items


def _ner(server: Server, taggers: tuple[Version, ...]) -> Item:
    default = _default(server, "task", ner.NAME)
    running = [version for version in taggers if version.reference == default] or list(taggers)
    parameters: Item = {} if default is not None else {"adapter": running[0].reference}
    needs_language = _swaps(running[0])
    if needs_language:
        code = _example_language(server)
        parameters |= {"language_adapter": None} if code is None else {"language": code}
    example: Item = {"inputs": "Amina Juma works in Nairobi."}
    return {
        "task": ner.NAME,
        "labels": _labels(running),
        "adapters": [version.reference for version in taggers],
        "default": default,
        "needs_language": needs_language,
        "example": example | ({"parameters": parameters} if parameters else {}),
    }


def _swaps(version: Version) -> bool:
    composition = version.manifest.composition
    return composition is not None and composition.language == "swapped"


def _labels(versions: Iterable[Version]) -> list[str]:
    """In the order of the first head that has them."""
    heads = [version.manifest.head for version in versions]
    return list(dict.fromkeys(label for head in heads if head is not None for label in head.labels))


def _candidates(server: Server, kind: Kind, key: str) -> tuple[Version, ...]:
    return catalog.candidates(server.registry, kind=kind, key=key, fingerprint=server.loaded.fingerprint)


def _default(server: Server, kind: Kind, key: str) -> str | None:
    """What runs where a request names no adapter; None where it would be refused."""
    try:
        return catalog.choose(server.registry, kind=kind, key=key, fingerprint=server.loaded.fingerprint).reference
    except (AmbiguousAdapter, NotFound, WrongBackbone):
        return None


def _example_language(server: Server) -> str | None:
    """English where it is served, for the examples are English; else any language that needs no further choice."""
    usable = [item["code"] for item in languages(server) if item["default"] is not None]
    return "en" if "en" in usable else next(iter(usable), None)
