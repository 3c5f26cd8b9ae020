"""What every blob store does: one class, passed by the local folder and by its memory twin."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from madx.manifest import Digest
from registry.errors import BlobTooLarge, UnknownBlob
from registry.stores import Blob, BlobStore
from registry.stores.base import verify
from registry.stores.local import LocalStore
from registry.stores.memory import MemoryStore


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


class BrokenStream(io.RawIOBase):
    """Gives a few bytes, then fails as a lost connection does."""

    def __init__(self) -> None:
        self.left = 2

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ConnectionResetError("the other side is gone")
        return b"some bytes"


class BlobStoreContract:
    @pytest.fixture
    def store(self) -> Any:
        raise NotImplementedError

    def test_gives_back_what_was_put(self, store: BlobStore) -> None:
        content = bytes(range(256)) * 10_000
        blob = store.put(io.BytesIO(content))
        assert blob == Blob(digest=digest_of(content), size_bytes=len(content))
        with store.open(blob.digest) as stream:
            assert stream.read() == content
        assert store.size(blob.digest) == len(content)
        assert store.exists(blob.digest)
        verify(store, blob)

    def test_holds_an_empty_blob(self, store: BlobStore) -> None:
        blob = store.put(io.BytesIO())
        assert store.size(blob.digest) == 0
        with store.open(blob.digest) as stream:
            assert stream.read() == b""

    def test_putting_twice_gives_one_blob(self, store: BlobStore) -> None:
        assert store.put(io.BytesIO(b"x")) == store.put(io.BytesIO(b"x"))
        assert len(list(store.list())) == 1

    def test_lists_by_digest(self, store: BlobStore) -> None:
        assert list(store.list()) == []
        contents = [b"one", b"two", b"three"]
        for content in contents:
            store.put(io.BytesIO(content))
        expected = sorted((digest_of(content), len(content)) for content in contents)
        assert [(blob.digest, blob.size_bytes) for blob in store.list()] == expected

    def test_an_open_blob_outlives_its_deletion(self, store: BlobStore) -> None:
        blob = store.put(io.BytesIO(b"content"))
        with store.open(blob.digest) as stream:
            store.delete(blob.digest)
            assert stream.read() == b"content"
        assert not store.exists(blob.digest)
        store.delete(blob.digest)

    def test_an_unknown_digest(self, store: BlobStore) -> None:
        digest = digest_of(b"nobody put this")
        assert not store.exists(digest)
        with pytest.raises(UnknownBlob):
            store.open(digest)
        with pytest.raises(UnknownBlob):
            store.size(digest)

    @pytest.mark.parametrize("text", ["", "../../etc/passwd", "A" * 64, "a" * 63, "/" + "a" * 63])
    def test_no_text_but_a_digest_is_a_key(self, store: BlobStore, text: str) -> None:
        for use in (store.open, store.size, store.exists, store.delete):
            with pytest.raises(UnknownBlob, match="no blob digest"):
                use(Digest(text))

    def test_staged_bytes_are_no_blob_yet(self, store: BlobStore) -> None:
        staged = store.stage(io.BytesIO(b"waiting"))
        assert staged.blob.digest == digest_of(b"waiting")
        assert staged.path.read_bytes() == b"waiting"
        assert not store.exists(staged.blob.digest)
        assert list(store.list()) == []
        store.commit(staged)
        assert store.exists(staged.blob.digest)
        assert not staged.path.exists()
        store.discard(staged)
        assert store.exists(staged.blob.digest)

    def test_discarded_bytes_are_gone(self, store: BlobStore) -> None:
        staged = store.stage(io.BytesIO(b"unwanted"))
        store.discard(staged)
        store.discard(staged)
        assert not staged.path.exists()
        assert list(store.list()) == []

    def test_two_may_stage_the_same_at_once(self, store: BlobStore) -> None:
        first, second = store.stage(io.BytesIO(b"same")), store.stage(io.BytesIO(b"same"))
        store.commit(second)
        store.commit(first)
        verify(store, first.blob)

    def test_a_limit_counts_bytes(self, store: BlobStore) -> None:
        assert store.put(io.BytesIO(b"12345"), limit_bytes=5).size_bytes == 5
        other = store.stage(io.BytesIO(b"kept"))
        with pytest.raises(BlobTooLarge):
            store.put(io.BytesIO(b"123456"), limit_bytes=5)
        assert self.staged_files(other.path) == [other.path]

    def test_a_stream_that_fails_leaves_nothing(self, store: BlobStore) -> None:
        other = store.stage(io.BytesIO(b"kept"))
        broken: BinaryIO = BrokenStream()  # type: ignore[assignment]
        with pytest.raises(ConnectionResetError):
            store.put(broken)
        assert self.staged_files(other.path) == [other.path]
        assert list(store.list()) == []

    def staged_files(self, one: Path) -> list[Path]:
        return sorted(one.parent.iterdir())


class TestLocalStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return LocalStore(tmp_path / "blobs")


class TestMemoryStore(BlobStoreContract):
    @pytest.fixture
    def store(self) -> Iterator[BlobStore]:
        store = MemoryStore()
        yield store
        store.close()
