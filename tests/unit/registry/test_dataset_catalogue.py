"""The shipped catalogue and users' own ones: lookups, licences, and refusal of entries that cannot be right."""

from pathlib import Path

import pytest

from registry.datasets.catalogue import Catalogue, load_catalogue
from registry.datasets.errors import InvalidCatalogue, UnknownDataSet, UnknownSplit

OWN = """
[[dataset]]
name = "village-news"
task = "ner"
language = "sw"
format = "conll"
licence = "CC0-1.0"
open = true

[[dataset.source]]
address = "https://github.com/someone/village"
commit = "0123456789012345678901234567890123456789"

[[dataset.file]]
split = "train"
path = "village/train.txt"
source_path = "data/first part.txt"
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
size_bytes = 12

[[dataset.file]]
split = "dev"
path = "village/dev.txt"
url = "https://example.org/dev.txt?x=1"
sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
size_bytes = 13
"""


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue()


def with_own(folder: Path, text: str) -> Catalogue:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return load_catalogue(path)


def test_the_shipped_catalogue_has_text_and_entities(shipped: Catalogue) -> None:
    assert len([dataset for dataset in shipped.select(task="text") if dataset.aligned is None]) == 20
    assert {dataset.language for dataset in shipped.select(task="ner")} == {
        *("en", "pt", "zh", "ha", "rw", "lg", "pcm", "sw", "yo", "bm", "zu"),
    }
    assert shipped.get("uner-english-pud").splits == ("test",)
    assert shipped.get("masakhaner-swa").splits == ("train", "dev", "test")


def test_translations_are_found_by_the_name_that_they_are_aligned_under(shipped: Catalogue) -> None:
    found = shipped.translations("ntrex", ["en", "bm", "sw"])
    assert {language: dataset.name for language, dataset in found.items()} == {"en": "ntrex-eng", "sw": "ntrex-swa"}
    with pytest.raises(UnknownDataSet, match="bible has en, sw"):
        shipped.translations("bible", ["en", "yo"])
    with pytest.raises(UnknownDataSet, match="no data sets are aligned under 'opus'"):
        shipped.translations("opus", ["en", "sw"])


def test_only_text_is_aligned(tmp_path: Path) -> None:
    with pytest.raises(InvalidCatalogue, match="only text is aligned"):
        with_own(tmp_path, OWN.replace("open = true", 'open = true\naligned = "village"'))


def test_only_noncommercial_data_is_not_open(shipped: Catalogue) -> None:
    assert {dataset.licence for dataset in shipped.select(is_open=False)} == {"CC-BY-NC-4.0"}
    assert not [dataset.name for dataset in shipped.select(is_open=True) if "NC" in dataset.licence]


def test_every_source_is_pinned(shipped: Catalogue) -> None:
    commits = [source.commit for dataset in shipped.datasets for source in dataset.sources]
    assert all(commit is not None and len(commit) == 40 for commit in commits)
    assert all(dataset.sources for dataset in shipped.datasets)


def test_text_has_no_single_address_and_entities_have(shipped: Catalogue) -> None:
    assert not any(dataset.is_downloadable for dataset in shipped.select(task="text"))
    assert all(dataset.is_downloadable for dataset in shipped.select(task="ner"))


def test_addresses_carry_repository_commit_and_path(shipped: Catalogue) -> None:
    assert shipped.get("masakhaner2-zul").file("dev").url == (
        "https://raw.githubusercontent.com/masakhane-io/masakhane-ner/ba5843cd08aa491d5f96a5e809e71eb9ec461391/"
        "MasakhaNER2.0/data/zul/dev.txt"
    )
    ewt = shipped.get("uner-english-ewt")
    assert "/8ed072de2fd24022cc62458997fe96a8fe191ea4/" in str(ewt.file("dev").url)
    assert "/0c7ce0debb13a7d304da656f16309397e8ff36ef/" in str(ewt.file("train").url)


@pytest.mark.parametrize("tag", ["sw", "swa", "SW"])
def test_languages_are_found_in_every_form(shipped: Catalogue, tag: str) -> None:
    assert [dataset.name for dataset in shipped.select(language=tag)] == [
        *("text-swa", "ntrex-swa", "bible-swa", "masakhaner-swa"),
    ]


def test_an_unknown_name_comes_with_the_nearest(shipped: Catalogue) -> None:
    with pytest.raises(UnknownDataSet, match="did you mean masakhaner-swa") as caught:
        shipped.get("masakaner-swa")
    assert caught.value.nearest[0] == "masakhaner-swa"
    with pytest.raises(UnknownDataSet, match="glossa data list") as caught:
        shipped.get("§")
    assert caught.value.nearest == ()


def test_an_unknown_split_names_those_there_are(shipped: Catalogue) -> None:
    with pytest.raises(UnknownSplit, match="no split 'train'; it has test"):
        shipped.get("uner-english-pud").file("train")


def test_own_entries_stand_beside_the_shipped_ones(tmp_path: Path, shipped: Catalogue) -> None:
    own = with_own(tmp_path, OWN)
    village = own.get("village-news")
    assert own.names == (*shipped.names, "village-news")
    assert village.folder == tmp_path
    assert village.size_bytes == 25
    assert [file.url for file in village.files] == [
        "https://raw.githubusercontent.com/someone/village/0123456789012345678901234567890123456789/data/first%20part.txt",
        "https://example.org/dev.txt?x=1",
    ]


def test_a_file_may_have_no_address(tmp_path: Path) -> None:
    text = OWN.replace('url = "https://example.org/dev.txt?x=1"\n', "")
    assert not with_own(tmp_path, text).get("village-news").is_downloadable


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "CC0-1.0"\n', "", "dataset.0.licence: Field required"),
        ("open = true", "open = true\ncolour = 1", "dataset.0.colour"),
        ("size_bytes = 12", 'size_bytes = "many"', "dataset.0.file.0.size_bytes"),
        ("size_bytes = 12", "size_bytes = 0", "size_bytes must be positive"),
        ('"ner"', '"parsing"', "dataset.0.task"),
        ('"conll"', '"text"', "a ner data set has the format conll or uner"),
        ('"sw"', '"swa"', "write the language 'swa' as 'sw'"),
        ('"sw"', '"klingonese"', "klingonese"),
        ('"village-news"', '"Village"', "the name 'Village'"),
        ('"village-news"', '"text-swa"', "two data sets are named 'text-swa'"),
        ('"village/train.txt"', '"../train.txt"', "must be relative"),
        ('"village/train.txt"', '"/etc/passwd"', "must be relative"),
        ('"village/train.txt"', '"C:/train.txt"', "must be relative"),
        ("a" * 64, "A" * 64, "64 lower-case hexadecimal digits"),
        ('split = "dev"', 'split = "train"', "every split has one file"),
        ("https://example.org", "ftp://example.org", "http or https"),
        ('path = "village/dev.txt"', 'path = "village/dev.txt"\nsource_path = "x"', "url or source_path, not both"),
        ("https://github.com/", "https://example.org/", "exactly one source, a GitHub repository"),
        ('commit = "0123456789012345678901234567890123456789"\n', "", "needs the source's commit"),
        ("[[dataset]]", "[[dataset", "is not TOML"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(InvalidCatalogue, match=message) as caught:
        with_own(tmp_path, OWN.replace(old, new, 1))
    assert "own.toml" in str(caught.value) or "two data sets" in message


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_catalogue_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidCatalogue, match=r"cannot read the catalogue .*GLOSSA_CATALOGUE"):
        load_catalogue(path)


def test_the_documented_example_is_a_catalogue(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    village = with_own(tmp_path, example).get("village-news")
    assert (village.sources, village.is_downloadable, village.note) == ((), True, "Collected in 2024.")


def test_the_documentation_names_every_family_of_data_sets(shipped: Catalogue) -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    families = {dataset.name.rpartition("-")[0] for dataset in shipped.datasets}
    assert [family for family in families if f"`{family}-" not in page] == []
