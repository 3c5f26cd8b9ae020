"""The tokenizer of a backbone trained here: a unigram model with byte fallback, in the XLM-R layout.

Byte fallback keeps text of languages that the vocabulary never saw from becoming unknown pieces.
"""

import json
from collections.abc import Iterable
from math import log

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from madx.families import FAMILIES
from madx.tokenizer import TextTokenizer

_TOKENS = FAMILIES["xlm-roberta"].tokens
_SPECIAL = (_TOKENS.start, _TOKENS.pad, _TOKENS.end, _TOKENS.unknown)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
MARK = "▁"


def _pipeline(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    # Punctuation stands alone, as treebanks and NER corpora have it.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always"), pre_tokenizers.Punctuation("isolated")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement=MARK, prepend_scheme="always")]
    )
    return tokenizer


def train_vocabulary(lines: Iterable[str], size: int) -> TextTokenizer:
    """Train a unigram model of exactly `size` pieces: special tokens, 256 bytes, learnt pieces, the mask."""
    learner = _pipeline(Tokenizer(models.Unigram()))
    learnt = size - len(_SPECIAL) - len(_BYTES) - 1
    trainer = trainers.UnigramTrainer(
        vocab_size=learnt + 1, special_tokens=[_TOKENS.unknown], unk_token=_TOKENS.unknown, show_progress=False
    )
    learner.train_from_iterator(lines, trainer)
    return TextTokenizer(_assemble(_learnt_pieces(learner)[:learnt]).to_str(), "xlm-roberta")


def _learnt_pieces(learner: Tokenizer) -> list[tuple[str, float]]:
    """The trained pieces with their log probabilities, most probable first.

    Rounded, and ties in the pieces' order: the trainer's sums differ in their last digits from run to run.
    """
    vocabulary: list[tuple[str, float]] = [
        (piece, round(score, 6))
        for piece, score in json.loads(learner.to_str())["model"]["vocab"]
        if piece != _TOKENS.unknown
    ]
    return sorted(vocabulary, key=lambda entry: (-entry[1], entry[0]))


def _assemble(pieces: list[tuple[str, float]]) -> Tokenizer:
    """The XLM-R order: start, pad, end, unknown, then pieces, and the mask last."""
    # A byte must lose against any piece and win against the unknown piece.
    floor = min(score for _, score in pieces) + log(1e-4)
    vocabulary = [(token, 0.0) for token in _SPECIAL] + [(byte, floor) for byte in _BYTES] + pieces
    tokenizer = _pipeline(Tokenizer(models.Unigram([*vocabulary, (_TOKENS.mask, 0.0)], unk_id=3, byte_fallback=True)))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    tokenizer.add_special_tokens([AddedToken(_TOKENS.mask, special=True, lstrip=True, normalized=False)])
    start, end = (_TOKENS.start, 0), (_TOKENS.end, 2)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start[0]} $A {end[0]}",
        pair=f"{start[0]} $A {end[0]} {end[0]} $B {end[0]}",
        special_tokens=[start, end],
    )
    return tokenizer
