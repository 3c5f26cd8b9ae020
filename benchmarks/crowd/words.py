"""The languages, tasks and labels of a crowded registry."""

_LANGUAGES = (
    "af am ar az be bg bn br ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id ig is it "
    "ja jv ka kk km kn ko ku ky la lg ln lo lt lv mg mk ml mn mr ms my ne nl no ny om or pa pl ps pt ro ru rw sd si sk "
    "sl sn so sq sr su sv sw ta te tg th tk tr ug uk ur uz vi wo xh yi yo zh zu"
)
LANGUAGES = tuple(_LANGUAGES.split())
_UPOS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"


def _bio(*types: str) -> tuple[str, ...]:
    return ("O", *(f"{tag}-{name}" for name in types for tag in "BI"))


LABELS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ner": (_bio("PER", "LOC", "ORG"), _bio("PER", "LOC", "ORG", "DATE"), _bio("PER", "LOC", "ORG", "MISC")),
    "pos": (tuple(_UPOS.split()),),
    "chunk": (_bio("NP", "VP", "PP", "ADJP", "ADVP"),),
    "sentiment": (("negative", "neutral", "positive"), ("negative", "positive")),
    "topic": (("business", "health", "politics", "religion", "sports", "technology"),),
    "case": (("Nom", "Acc", "Gen", "Dat", "Loc", "Ins", "Voc"),),
    "toxicity": (("clean", "toxic"),),
    "intent": (tuple(f"intent-{number}" for number in range(20)),),
    "biomedical": (_bio("GENE", "DISEASE"), _bio("DRUG")),
    "language-id": (("known", "unknown"),),
}
"""Task -> the sets of labels that its adapters have."""

TASKS = tuple(LABELS)
