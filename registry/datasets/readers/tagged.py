"""A sentence with one IOB2 tag per word: what the CoNLL and UNER readers yield and NER objectives learn from.

Readers keep the tags as the file has them. `to_labels` is the separate, explicit step from there to the labels that a
head learns.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import UnknownTag

NER_LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")

# Types that MasakhaNER (DATE), UNER (OTH and, in the 2022 English file, a stray type O) and CoNLL-2003 (MISC) mark and
# that the shared label set leaves out.
DROPPED_TYPES = frozenset({"DATE", "OTH", "O", "MISC"})

_IOB2 = re.compile(r"O|[BI]-\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedSentence:
    """Words and their tags, as many of one as of the other."""

    words: tuple[str, ...]
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.words) != len(self.tags):
            raise ValueError(f"{len(self.words)} words, but {len(self.tags)} tags")


def is_iob2(tag: str) -> bool:
    return _IOB2.fullmatch(tag) is not None


def to_labels(
    sentence: TaggedSentence,
    labels: Collection[str] = NER_LABELS,
    *,
    dropped_types: Collection[str] = DROPPED_TYPES,
) -> TaggedSentence:
    """The same words with tags out of `labels`; a tag of a dropped type that `labels` lacks becomes O.

    An I- without its B- stays as it is: scorers read it as the start of an entity. Raises `UnknownTag` for any other
    tag, because turning it into O would teach the head that a real entity is none.
    """
    tags = tuple(_to_label(tag, labels, dropped_types) for tag in sentence.tags)
    return TaggedSentence(words=sentence.words, tags=tags)


def _to_label(tag: str, labels: Collection[str], dropped_types: Collection[str]) -> str:
    if tag in labels:
        return tag
    if tag[2:] in dropped_types:
        return "O"
    raise UnknownTag(
        f"the tag {tag!r} is not among the labels {', '.join(labels)}, nor of a type that is dropped "
        f"({', '.join(sorted(dropped_types))}); change the file's tags or give the labels to learn"
    )
