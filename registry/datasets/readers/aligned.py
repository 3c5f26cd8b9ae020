"""Translations: text files whose line n means the same in every language."""

from collections.abc import Mapping

from ..errors import BrokenData, DataError
from ..locate import LocatedFile
from .lines import read_lines


def aligned_lines(files: Mapping[str, LocatedFile]) -> dict[str, list[str]]:
    """The lines of each language, stripped, in the files' order; those that are empty in one language in none.

    Raises `BrokenData` for files of different lengths, `DataError` for a file that is no plain text.
    """
    columns: dict[str, list[str]] = {}
    for language, file in files.items():
        if file.format != "text":
            raise DataError(f"{file.name} is {file.format} data, but plain text is needed; see `glossa data list`")
        columns[language] = [line.strip() for _, line in read_lines(file.path)]
    shortest, longest = (choose(columns, key=lambda name: len(columns[name])) for choose in (min, max))
    if len(columns[shortest]) != len(columns[longest]):
        raise BrokenData(
            files[longest].path,
            len(columns[shortest]) + 1,
            f"{files[shortest].path} has no such line; files of translations have as many lines each",
        )
    kept = [number for number, lines in enumerate(zip(*columns.values(), strict=True)) if all(lines)]
    return {language: [lines[number] for number in kept] for language, lines in columns.items()}
