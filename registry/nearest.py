"""The names a person may have meant, for the answers that say "unknown"."""

import difflib
from collections.abc import Iterable

import langcodes

from madx.errors import InvalidConfig
from madx.manifest import canonical_language

_NEAREST = 3


def nearest_names(wanted: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to three of `known`, best first."""
    names = sorted(set(known))
    close = difflib.get_close_matches(wanted, names, n=_NEAREST, cutoff=0.5)
    starting = [name for name in names if wanted and name.startswith(wanted)]
    return tuple(dict.fromkeys([*close, *starting]))[:_NEAREST]


def nearest_languages(wanted: str, known: Iterable[str]) -> tuple[str, ...]:
    """The three of `known` that readers of `wanted` cope with best; where that does not decide, alike in letters.

    English names count as letters too, so "swahili" finds "sw".
    """
    try:
        language = canonical_language(wanted)
    except InvalidConfig:
        language = None

    def distance(code: str) -> tuple[float, float]:
        texts = (code, langcodes.Language.get(code).display_name("en"))
        likeness = max(difflib.SequenceMatcher(a=wanted.lower(), b=text.lower()).ratio() for text in texts)
        return (0 if language is None else langcodes.tag_distance(language, code), -likeness)

    return tuple(sorted(sorted(set(known)), key=distance)[:_NEAREST])
