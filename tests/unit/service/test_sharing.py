"""Who shares the device: every key that was seen in the last seconds, and no other."""

from service.sharing import SHARED_S, Sharing


def test_a_key_counts_from_when_it_was_last_seen() -> None:
    sharing = Sharing()
    sharing.see("a", 0.0)
    sharing.see("b", 1.0)
    sharing.see("a", 2.0)
    assert sharing.keys(2.0) == 2
    assert sharing.keys(1.0 + SHARED_S) == 2
    assert sharing.keys(1.1 + SHARED_S) == 1
    assert sharing.keys(2.1 + SHARED_S) == 0


def test_a_key_is_beside_others_whether_it_was_seen_or_not() -> None:
    sharing = Sharing()
    assert not sharing.is_beside_others("a", 0.0)
    sharing.see("a", 0.0)
    assert not sharing.is_beside_others("a", 0.0)
    assert sharing.is_beside_others("b", 0.0)
    sharing.see("b", 1.0)
    assert sharing.is_beside_others("a", 1.0)
    assert not sharing.is_beside_others("b", 0.5 + SHARED_S)
