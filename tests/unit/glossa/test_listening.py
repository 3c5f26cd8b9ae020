"""Addresses that a server cannot listen on are an error in words, whatever `bind` makes of them."""

import pytest

from glossa.serving import CannotListen, listen


@pytest.mark.parametrize("host", ["\udcff", "a" * 70, "a..b"])
def test_a_host_that_is_no_name_is_refused(host: str) -> None:
    with pytest.raises(CannotListen, match="choose another"):
        listen(host, 0)
