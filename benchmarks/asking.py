"""Traffic as HTTP requests: texts of the lengths of `traffic`, each with its language and its task adapter by name."""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice

from .checkpoints import text_of
from .load.client import Request
from .traffic import MOST_TOKENS, Ask, asks
from .world import TASK_NAME, World

PATH = f"/v1/predict/{TASK_NAME}"


class Asking:
    """Requests for a world's adapters, the first `languages` and `tasks` of them."""

    def __init__(self, world: World, *, languages: int, tasks: int, seed: int) -> None:
        self._world = world
        self._languages, self._tasks = languages, tasks
        self._seed = seed

    def texts(self, count: int) -> list[Request]:
        """`text`, `adapter` and `language_adapter` of that many rows of traffic: what the engine is given too."""
        draw = random.Random(self._seed)
        stream: Iterator[Ask] = asks(
            vocab_size=self._world.shape.vocab_size,
            languages=self._languages,
            tasks=self._tasks,
            seed=self._seed,
            most_tokens=min(MOST_TOKENS, self._world.shape.max_tokens),
        )
        return [self._text(len(ask.ids), ask.language, ask.task, draw) for ask in islice(stream, count)]

    def each(self, *, languages: range, tasks: range) -> list[Request]:
        """A short text for every one of these adapters: the first language with each task, then each language."""
        stacks = [(languages[0], task) for task in tasks] + [(language, tasks[0]) for language in languages[1:]]
        return self.of(stacks)

    def of(self, stacks: Sequence[tuple[int, int]], *, tokens: int = 8) -> list[Request]:
        """A short text for each pair of a language's and a task's rank."""
        draw = random.Random(self._seed)
        return [self._text(tokens, language, task, draw) for language, task in stacks]

    def _text(self, tokens: int, language: int, task: int, draw: random.Random) -> Request:
        return {
            "text": text_of(tokens, self._world.shape.vocab_size, draw),
            "adapter": self._world.tasks[task].name,
            "language_adapter": self._world.languages[language].name,
        }


def requests_of(texts: Sequence[Request], *, key: str | None = None) -> list[Request]:
    """As `POST /v1/predict/ner` takes them, one text each."""
    made = []
    for text in texts:
        parameters = {name: text[name] for name in ("adapter", "language_adapter")}
        request = {"path": PATH, "body": json.dumps({"inputs": text["text"], "parameters": parameters})}
        made.append(request if key is None else request | {"key": key})
    return made
