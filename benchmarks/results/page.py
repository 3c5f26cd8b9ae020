"""Finished cells -> docs/results/ner.md: what was measured, the tables, and what training took."""

from collections.abc import Iterable, Sequence

from trainer.report import ResultRow, markdown_table, notes

from .cells import BARE_SUFFIX, METHODS, SOURCE

_HEAD = """# Entity recognition across languages

Entity F1 in per cent (micro, by seqeval) of the demo's backbone and of adapters trained on it. `make results` computes
what is missing of this page; the cells are in `ner.json`.

- **none**: a task adapter trained on English without language adapter, tested without.
- **language**: trained on English on top of the English language adapter; tested with that of the test language in its
  place. No invertible adapters.
- **language+invertible**: the same with invertible adapters (MAD-X).
- **in-language**: trained on the test language's own training data, on top of its language adapter with invertible
  adapter.

Several seeds read `mean ± standard deviation`; the seed decides the task adapter, language adapters are trained once.
Entities of other types than PER, ORG and LOC, dates among them, count as O.
"""


def page(rows: Sequence[ResultRow], *, total: int) -> str:
    """The page of the finished `rows` out of `total` cells."""
    methods = [method for method in METHODS if any(row.method == method for row in rows)]
    parts = [_HEAD, _state(rows, total)]
    if not rows:
        return "\n".join(parts)
    transfer = [row for row in rows if row.language != SOURCE and row.method in methods]
    source = [row for row in rows if row.language == SOURCE]
    for title, some in (("Languages that the task adapter was not trained in", transfer), ("English itself", source)):
        if some:
            parts += [f"## {title}", markdown_table(some, methods)]
    parts += _without_text(rows)
    if remarks := notes(rows):
        parts += ["## Notes", remarks]
    parts += ["## What training took", _task_adapters(rows), _language_adapters(rows)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _state(rows: Sequence[ResultRow], total: int) -> str:
    backbones = sorted({str(row.detail["backbone"])[:12] for row in rows})
    recipes = sorted({str(row.detail["recipe"]) for row in rows})
    made = f" Backbone {', '.join(backbones)}, recipe {', '.join(recipes)}." if rows else ""
    return f"{len(rows)} of {total} cells are computed.{made}\n"


def _without_text(rows: Sequence[ResultRow]) -> list[str]:
    """Languages without language adapter: with English's in its place, and with none."""
    bare = [row for row in rows if row.method.endswith(BARE_SUFFIX)]
    if not bare:
        return []
    languages = {row.language for row in bare}
    columns = [name for method in METHODS for name in (method, method + BARE_SUFFIX)]
    some = [row for row in rows if row.language in languages]
    there = [column for column in columns if any(row.method == column for row in some)]
    table = markdown_table(some, there)
    if len({row.dataset for row in some}) == 1:
        table = "".join(line for line in table.splitlines(keepends=True) if "**mean of" not in line)
    return [f"## Languages without text ({', '.join(sorted(languages))})", table]


def _task_adapters(rows: Iterable[ResultRow]) -> str:
    lines = {
        f"| {detail['task_adapter']} | {row.seed} | {detail['data']} | {detail['steps']} | {detail['minutes']:.1f} |"
        for row in rows
        for detail in [row.detail]
    }
    return "\n".join(["| task adapter | seed | data | steps | minutes |", "|---|--:|---|--:|--:|", *sorted(lines)])


def _language_adapters(rows: Iterable[ResultRow]) -> str:
    lines = {
        f"| {detail['language_adapter']} | {detail['language_data']} | {detail['language_steps']} "
        f"| {detail['language_minutes']:.1f} | {detail['language_perplexity']:.1f} |"
        for row in rows
        for detail in [row.detail]
        if detail["language_adapter"] is not None
    }
    if not lines:
        return ""
    head = ["| language adapter | data | steps | minutes | held-out perplexity |", "|---|---|--:|--:|--:|"]
    return "\n".join([*head, *sorted(lines)])
