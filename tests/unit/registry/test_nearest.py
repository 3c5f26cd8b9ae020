"""What an answer that says "unknown" proposes."""

from registry.nearest import nearest_languages, nearest_names

CODES = ["da", "en", "sw", "zh", "yo"]


def test_names_close_in_letters_come_first() -> None:
    assert nearest_names("nre", ["pos", "ner", "nli"])[0] == "ner"
    assert nearest_names("question", ["ner", "question-answering"]) == ("question-answering",)
    assert nearest_names("zzz", ["ner", "pos"]) == ()


def test_related_languages_come_first() -> None:
    assert nearest_languages("nb", CODES)[0] == "da"
    assert nearest_languages("pcm", CODES)[0] == "en"


def test_what_is_no_language_is_compared_by_letters() -> None:
    assert nearest_languages("swahili", CODES)[0] == "sw"
    assert nearest_languages("chinese", CODES)[0] == "zh"
    assert len(nearest_languages("!?", CODES)) == 3
    assert nearest_languages("sw", []) == ()
