"""A small catalogue of made-up data: English and Swahili with text, aligned, Nigerian Pidgin with entities alone."""

import hashlib
from pathlib import Path

from tests.support.training import write_tagged, write_text

TEXTS = {"made-text-en": "en", "made-text-sw": "sw"}
TAGGED = {"made-ner-en": "en", "made-ner-sw": "sw", "made-ner-pcm": "pcm"}
SPLITS = ("train", "dev", "test")


def write_catalogue(folder: Path, *, lines: int = 120, sentences: int = 40) -> Path:
    """Files and the TOML that names them, all in `folder`; returns the TOML's path."""
    entries = []
    for seed, (name, language) in enumerate(TEXTS.items()):
        path = write_text(folder / f"{name}.txt", lines=lines, seed=seed)
        entries.append(_entry(name, language, "text", "text", {"train": path}, aligned="made"))
    for seed, (name, language) in enumerate(TAGGED.items()):
        paths = {
            split: write_tagged(folder / f"{name}-{split}.txt", sentences=sentences, seed=10 * seed + number)
            for number, split in enumerate(SPLITS)
        }
        entries.append(_entry(name, language, "ner", "conll", paths))
    catalogue = folder / "catalogue.toml"
    catalogue.write_text("\n".join(entries), encoding="utf-8")
    return catalogue


def _entry(
    name: str, language: str, task: str, form: str, paths: dict[str, Path], *, aligned: str | None = None
) -> str:
    lines = ["[[dataset]]", f'name = "{name}"', f'task = "{task}"', f'language = "{language}"', f'format = "{form}"']
    lines += ['licence = "CC0-1.0"', "open = true"]
    if aligned is not None:
        lines.append(f'aligned = "{aligned}"')
    for split, path in paths.items():
        content = path.read_bytes()
        lines += ["[[dataset.file]]", f'split = "{split}"', f'path = "{path.name}"']
        lines += [f'sha256 = "{hashlib.sha256(content).hexdigest()}"', f"size_bytes = {len(content)}"]
    return "\n".join(lines) + "\n"
