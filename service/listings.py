"""What can be asked for: the items of /v1/languages and /v1/tasks. Queries the registry, however much is in it, a fixed
number of times.
"""

from typing import Any

from langcodes import Language

from madx.manifest import Kind, Manifest
from registry import offers, versions
from registry.offers import Offer

from .state import Server
from .tasks import fill_mask, ner

Item = dict[str, Any]


def languages(server: Server) -> list[Item]:
    """The languages that the served backbone has an adapter for, by code."""
    return [_language(offer) for offer in _offers(server, "language")]


def _language(offer: Offer) -> Item:
    language = Language.get(offer.key)
    return {
        "code": offer.key,
        "name": language.display_name(),
        "iso639_3": language.to_alpha3(),
        "adapters": [candidate.reference for candidate in offer.candidates],
        "default": _default(offer),
    }


def tasks(server: Server) -> list[Item]:
    """The tasks that the served backbone can answer, each with a body that works."""
    items: list[Item] = []
    code = _example_language(server)
    tagging = next((offer for offer in _offers(server, "task") if offer.key == ner.NAME), None)
    if tagging is not None:
        items.append(_ner(server, tagging, code))
    if server.target.masked_lm:
        items.append(_fill_mask(server, code))
    return items


def _ner(server: Server, offer: Offer, code: str | None) -> Item:
    """Shows what runs by default, else all that could, of which the example names the first."""
    running = offer.chosen or offer.candidates[0]
    manifest = versions.get_version(server.registry, running.name, running.number).manifest
    parameters: Item = {} if offer.chosen is not None else {"adapter": running.reference}
    needs_language = manifest.composition is not None and manifest.composition.language == "swapped"
    if needs_language:
        parameters |= {"language_adapter": None} if code is None else {"language": code}
    example: Item = {"inputs": "Amina Juma works in Nairobi."}
    return {
        "task": ner.NAME,
        "labels": _labels(server, offer, manifest),
        "adapters": [candidate.reference for candidate in offer.candidates],
        "default": _default(offer),
        "needs_language": needs_language,
        "example": example | ({"parameters": parameters} if parameters else {}),
    }


def _labels(server: Server, offer: Offer, running: Manifest) -> list[str]:
    if offer.chosen is not None:
        return [] if running.head is None else list(running.head.labels)
    found = offers.labels_of(server.registry, kind="task", key=offer.key, fingerprint=server.loaded.fingerprint)
    return list(found)


def _fill_mask(server: Server, code: str | None) -> Item:
    example: Item = {"inputs": f"Nairobi is the capital of {server.loaded.tokenizer.mask_token}."}
    if code is not None:
        example["parameters"] = {"language": code}
    return {
        "task": fill_mask.NAME,
        "labels": [],
        "adapters": [],
        "default": None,
        "needs_language": False,
        "example": example,
    }


def _default(offer: Offer) -> str | None:
    return None if offer.chosen is None else offer.chosen.reference


def _offers(server: Server, kind: Kind) -> tuple[Offer, ...]:
    return offers.list_offers(server.registry, kind=kind, fingerprint=server.loaded.fingerprint)


def _example_language(server: Server) -> str | None:
    """English where it is served, for the examples are English; else any language that needs no further choice."""
    usable = [offer.key for offer in _offers(server, "language") if offer.chosen is not None]
    return "en" if "en" in usable else next(iter(usable), None)
