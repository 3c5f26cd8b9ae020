"""What is asked of a crowded registry: the same questions to the registry in this process and to a server."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import httpx

from registry import catalog, search
from registry.errors import AmbiguousAdapter, NotFound, WrongBackbone
from registry.references import parse_reference
from registry.registry import Registry

from .contents import Member
from .words import LABELS, LANGUAGES, TASKS

Question = Callable[[], object]
Filters = dict[str, str]


class Asked(Protocol):
    """Lists give the next page's cursor."""

    def adapters(self, filters: Filters, *, limit: int, cursor: str | None) -> str | None: ...

    def versions(self, name: str, *, limit: int, cursor: str | None) -> str | None: ...

    def resolve(self, reference: str) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The registry in this process, as a server asks it that serves `fingerprint`."""

    registry: Registry
    fingerprint: str

    def adapters(self, filters: Filters, *, limit: int, cursor: str | None) -> str | None:
        given: dict[str, Any] = dict(filters)
        return search.search_adapters(self.registry, **given, limit=limit, cursor=cursor).next_cursor

    def versions(self, name: str, *, limit: int, cursor: str | None) -> str | None:
        return search.list_versions(self.registry, name, limit=limit, cursor=cursor).next_cursor

    def resolve(self, reference: str) -> object:
        return catalog.resolve(self.registry, parse_reference(reference))

    def choose(self, kind: Any, key: str) -> None:
        with suppress(AmbiguousAdapter, NotFound, WrongBackbone):  # answers, too
            catalog.choose(self.registry, kind=kind, key=key, fingerprint=self.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """A server, over one connection."""

    client: httpx.Client

    def adapters(self, filters: Filters, *, limit: int, cursor: str | None) -> str | None:
        names = {"fingerprint": "backbone", "prefix": "q"}
        query = {names.get(name, name): value for name, value in filters.items()}
        return self._page("/v1/adapters", query, limit=limit, cursor=cursor)

    def versions(self, name: str, *, limit: int, cursor: str | None) -> str | None:
        return self._page(f"/v1/adapters/{name}/versions", {}, limit=limit, cursor=cursor)

    def resolve(self, reference: str) -> object:
        return self.get("/v1/resolve", {"reference": reference})

    def get(self, path: str, query: dict[str, str]) -> Any:
        answer = self.client.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    def _page(self, path: str, query: Filters, *, limit: int, cursor: str | None) -> str | None:
        paging = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
        following: str | None = self.get(path, query | paging)["next_cursor"]
        return following


def pages(asked: Asked, members: Sequence[Member], *, seed: int) -> Iterator[Question]:
    """Adapters page by page to the end and again from the beginning; now and then versions, newest first."""
    chance = random.Random(seed)
    adapters = _walk(partial(asked.adapters, {}, limit=50))
    while True:
        versions = _walk(partial(asked.versions, chance.choice(members).name, limit=50))
        for walk in (adapters, adapters, versions, versions):
            yield partial(next, walk)


class _Page(Protocol):
    def __call__(self, *, cursor: str | None) -> str | None: ...


def _walk(page: _Page) -> Iterator[None]:
    cursor = None
    while True:
        cursor = page(cursor=cursor)
        yield


def searches(asked: Asked, members: Sequence[Member], fingerprints: Sequence[str], *, seed: int) -> Iterator[Question]:
    """First pages of one to four filters, of which some find nothing."""
    chance = random.Random(seed)
    choices: dict[str, Callable[[], str]] = {
        "kind": lambda: chance.choice(("language", "task")),
        "language": lambda: chance.choice(LANGUAGES),
        "task": lambda: chance.choice(TASKS),
        "fingerprint": lambda: chance.choice(fingerprints),
        "label": lambda: _label(chance),
        "prefix": lambda: chance.choice(members).name[: chance.randrange(1, 9)],
    }
    while True:
        names = chance.sample(sorted(choices), chance.randrange(1, 5))
        filters = {name: choices[name]() for name in names}
        yield partial(asked.adapters, filters, limit=50, cursor=None)


def _label(chance: random.Random) -> str:
    """Of every tenth search one that nobody has; of the others, half by its type."""
    if chance.random() < 0.1:
        return "NOBODY"
    label = chance.choice(chance.choice(LABELS[chance.choice(TASKS)]))
    return label.removeprefix("B-") if chance.random() < 0.5 else label


def references(asked: Asked, members: Sequence[Member], *, seed: int) -> Iterator[Question]:
    """Bare names, numbers and aliases in turn; of the registry in this process also what a language or task chooses."""
    chance = random.Random(seed)
    live = [member for member in members if member.live]
    for turn in itertools.count():
        member = chance.choice(live)
        reference = member.name
        if turn % 4 == 1:
            reference = f"{member.name}@{chance.choice(member.live)}"
        elif turn % 4 == 2:
            member = chance.choice([member for member in chance.choices(live, k=20) if member.aliases] or [member])
            reference = f"{member.name}@{member.aliases[0]}" if member.aliases else member.name
        elif turn % 4 == 3 and isinstance(asked, Here):
            kind, key = ("task", chance.choice(TASKS)) if turn % 20 == 3 else ("language", chance.choice(LANGUAGES))
            yield partial(asked.choose, kind, key)
            continue
        yield partial(asked.resolve, reference)
