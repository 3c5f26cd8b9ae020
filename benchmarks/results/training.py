"""Makes the adapters that a cell needs, through the trainer's own jobs, and scores the cell.

A job that is finished gives its version at once and an interrupted one goes on, so all state is in the home.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from madx.manifest import JsonScalar
from registry.values import Version
from trainer.evaluate import Trial, evaluate_ner
from trainer.jobs.language import LanguageSpec, train_language
from trainer.jobs.task import TaskSpec, train_task
from trainer.jobs.workplace import Workplace
from trainer.recipe import Recipe
from trainer.report import ResultRow
from trainer.run import Watcher

from .cells import Cell, text_of

LANGUAGE_SEED = 1
Watch = Callable[[str], Watcher]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """`watch` gives the watcher of the job with that name."""

    place: Workplace
    recipe: Recipe
    recipe_name: str
    watch: Watch

    @property
    def basis(self) -> str:
        """What a finished cell stands on: with another backbone or recipe it counts as missing."""
        decides = {"backbone": self.place.loaded.fingerprint, "recipe": asdict(self.recipe)}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def score(self, cell: Cell) -> ResultRow:
        """Raises `Interrupted` where the watcher stops a job, and what jobs and readers raise."""
        task = self._task_adapter(cell)
        language = None if cell.adapted_to is None else self._language_adapter(cell.adapted_to, cell)
        reference = None if language is None else language.reference
        trial = Trial(language=cell.test.language, dataset=cell.test.name, language_adapter=reference)
        file = self.place.data.locate(cell.test.name, "test", task="ner")
        (scored,) = evaluate_ner(self.place.registry, self.place.loaded, task.reference, [(trial, file)])
        detail: dict[str, JsonScalar] = {
            "basis": self.basis,
            "backbone": self.place.loaded.fingerprint,
            "recipe": self.recipe_name,
            "precision": scored.score.precision,
            "recall": scored.score.recall,
            "data": cell.trains_on.name,
            "test_sha256": file.sha256,
            "steps": int(task.manifest.metrics["steps"]),
            "minutes": task.manifest.metrics["minutes"],
            "task_adapter": task.reference,
            "language_adapter": reference,
        }
        if language is not None:
            detail["language_data"] = language.manifest.datasets[0].name
            detail["language_steps"] = int(language.manifest.metrics["steps"])
            detail["language_minutes"] = language.manifest.metrics["minutes"]
            detail["language_perplexity"] = language.manifest.metrics["perplexity"]
        return ResultRow(
            language=cell.test.language,
            method=cell.column,
            seed=cell.seed,
            score=scored.score.f1,
            n=scored.sentences,
            dataset=cell.test.name,
            note=cell.note,
            detail=detail,
        )

    def _task_adapter(self, cell: Cell) -> Version:
        """The cell's task adapter, on the language adapter of its own training language where the method has one."""
        language: Version | None = None
        trained_in = cell.trains_on.language
        if cell.method != "none" and text_of(self.place.data.catalogue, trained_in) is not None:
            language = self._language_adapter(trained_in, cell)
        kind = "none" if language is None else "plain" if cell.method == "language" else "full"
        name = f"ner-{trained_in.lower()}-{kind}-seed{cell.seed}"
        spec = TaskSpec(
            name=name,
            train=cell.trains_on.name,
            language_adapter=None if language is None else language.reference,
            recipe=self.recipe.task,
            recipe_name=self.recipe_name,
            seed=cell.seed,
        )
        return train_task(self.place, spec, self.watch(name))

    def _language_adapter(self, language: str, cell: Cell) -> Version:
        """One per language, with or without invertible adapter, whatever the cell's seed."""
        text = text_of(self.place.data.catalogue, language)
        assert text is not None
        invertible = cell.method != "language"
        name = f"lang-{language.lower()}" + ("" if invertible else "-plain")
        spec = LanguageSpec(
            name=name,
            language=language,
            data=text.name,
            recipe=self.recipe.language,
            recipe_name=self.recipe_name,
            seed=LANGUAGE_SEED,
            invertible=invertible,
        )
        return train_language(self.place, spec, self.watch(name))
