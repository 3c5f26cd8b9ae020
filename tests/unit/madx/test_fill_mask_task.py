"""Fill-mask encoding and decoding."""

from pathlib import Path

import pytest

from madx.errors import InvalidInput, TextTooLong
from madx.tasks import fill_mask
from madx.tokenizer import TextTokenizer
from tests.support.tiny import make_backbone


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder: Path = make_backbone(tmp_path_factory.mktemp("backbone"))
    return TextTokenizer((folder / "tokenizer.json").read_text(encoding="utf-8"), "xlm-roberta")


def test_masks_are_found_and_filled(tokenizer: TextTokenizer) -> None:
    encoded = fill_mask.encode("Juma lives in <mask> na <mask>", tokenizer, max_tokens=32)
    assert [encoded.input_ids[place] for place in encoded.positions] == [tokenizer.ids.mask] * 2
    kenya, paris = fill_mask.target_ids(["Kenya", "Paris"], tokenizer)
    first, second = fill_mask.decode(encoded, [[kenya], [paris]], [[0.75], [0.5]], tokenizer)
    assert (first[0].token_str, first[0].token, first[0].score) == ("Kenya", kenya, 0.75)
    assert first[0].sequence == "Juma lives in Kenya na"
    assert second[0].sequence == "Juma lives in na Paris"


def test_what_cannot_be_filled_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InvalidInput, match="<mask>"):
        fill_mask.encode("Juma lives in Kenya", tokenizer, max_tokens=32)
    with pytest.raises(TextTooLong, match="at most 8"):
        fill_mask.encode("Juma lives in Kenya na Tanzania na <mask>", tokenizer, max_tokens=8)
    with pytest.raises(InvalidInput, match="'Kenya na' is 2 pieces") as refused:
        fill_mask.target_ids(["Kenya na"], tokenizer)
    assert refused.value.field == "parameters.targets"
