"""A backbone folder of a benchmark's own: a shape's random weights and a tokenizer whose vocabulary is made here.

The server, `transformers` and AdapterHub all read it, so that every side runs the same weights.
"""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from madx.config import BackboneConfig
from madx.loading import save_backbone
from madx.tokenizer import TextTokenizer

from .shapes import random_backbone

_SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvwyz" for vowel in "aeiou"]
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"
_BOUNDARY = "▁"


def words() -> Iterator[str]:
    """Words of two, three, then four syllables, each once."""
    for syllables in (2, 3, 4):
        for picked in itertools.product(_SYLLABLES, repeat=syllables):
            yield "".join(picked)


def tokenizer_of(shape: BackboneConfig) -> TextTokenizer:
    """Unigram pieces like XLM-R's, as many as the shape has: nearly every one a whole word of `words`.

    Ids follow the shape: 0 start, 1 padding, 2 end, 3 unknown, 4 the word boundary, the mask last.
    """
    letters = sorted(set("".join(_SYLLABLES)))
    count = shape.vocab_size - len(_SPECIAL) - len(letters) - 2
    pieces = [(piece, 0.0) for piece in _SPECIAL] + [(_BOUNDARY, -14.0)]
    pieces += [
        (f"{_BOUNDARY}{word}", -6.0 - rank / count) for rank, word in enumerate(itertools.islice(words(), count))
    ]
    pieces += [(letter, -15.0) for letter in letters] + [(_MASK, 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=_SPECIAL.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*_SPECIAL, AddedToken(_MASK, lstrip=True)])
    return TextTokenizer(tokenizer.to_str(), shape.family)


def write_checkpoint(folder: Path, shape: BackboneConfig, *, seed: int) -> Path:
    """What `save_pretrained` writes, in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    save_backbone(random_backbone(shape), tokenizer_of(shape), folder, dtype=torch.float32)
    return folder


def text_of(tokens: int, vocabulary: int, draw: random.Random) -> str:
    """A text of `tokens` pieces with the two special ones, of the tokenizer of a shape with `vocabulary` pieces."""
    count = vocabulary - len(_SPECIAL) - len(set("".join(_SYLLABLES))) - 2
    return " ".join(_word(draw.randrange(count)) for _ in range(tokens - 2))


def _word(rank: int) -> str:
    """The word of that rank in `words`."""
    base = len(_SYLLABLES)
    syllables = 2
    while rank >= base**syllables:
        rank -= base**syllables
        syllables += 1
    picked = []
    for _ in range(syllables):
        rank, index = divmod(rank, base)
        picked.append(_SYLLABLES[index])
    return "".join(reversed(picked))
