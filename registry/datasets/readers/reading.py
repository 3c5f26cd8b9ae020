"""From a located file to its sentences, by the file's format: the one place that knows all readers."""

from collections.abc import Iterator

from ..errors import DataError
from ..locate import LocatedFile
from .conll import read_conll
from .tagged import TaggedSentence
from .text import read_text
from .uner import read_uner


def sentences_of(file: LocatedFile) -> Iterator[str]:
    """The sentences of a text file. Raises `DataError` for another format."""
    if file.format != "text":
        raise DataError(f"{file.name} is {file.format} data, but plain text is needed; see `glossa data list`")
    return read_text(file.path)


def tagged_sentences_of(file: LocatedFile) -> Iterator[TaggedSentence]:
    """The sentences of a file with tags, as the file has them. Raises `DataError` for a file without."""
    if file.format == "conll":
        return read_conll(file.path)
    if file.format == "uner":
        return read_uner(file.path)
    raise DataError(f"{file.name} is plain text, but data with entity tags is needed; see `glossa data list`")
