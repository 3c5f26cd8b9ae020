"""What every blob store does: one class, passed by the local folder, by its memory twin and by every S3 server."""

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from madx.manifest import Digest
from registry.errors import BlobTooLarge, StoreUnavailable, UnknownBlob
from registry.stores import Blob, BlobStore, Leftover, Staged
from registry.stores.base import verify

PART_BYTES = 8 << 20
SOME_BYTES = bytes(range(256))


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def soon() -> datetime:
    """After everything that happened so far, by any clock near this one."""
    return datetime.now(UTC) + timedelta(hours=1)


def read(store: BlobStore, digest: Digest, *, start: int = 0, length: int | None = None) -> bytes:
    with store.open(digest, start=start, length=length) as stream:
        return stream.read()


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
    def store(self) -> Iterator[BlobStore]:
        raise NotImplementedError

    def test_gives_back_what_was_put(self, store: BlobStore) -> None:
        content = SOME_BYTES * 10_000
        blob = store.put(io.BytesIO(content))
        assert blob == Blob(digest=digest_of(content), size_bytes=len(content))
        assert read(store, blob.digest) == content
        assert store.size(blob.digest) == len(content)
        assert store.exists(blob.digest)
        verify(store, blob)
        assert self.staged_files(store) == []

    def test_holds_an_empty_blob(self, store: BlobStore) -> None:
        blob = store.put(io.BytesIO())
        assert store.size(blob.digest) == 0
        assert read(store, blob.digest) == b""
        assert read(store, blob.digest, start=0, length=5) == b""

    @pytest.mark.parametrize("size_bytes", [PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 12_345])
    def test_holds_large_blobs(self, store: BlobStore, size_bytes: int) -> None:
        content = (SOME_BYTES * (size_bytes // len(SOME_BYTES) + 1))[:size_bytes]
        blob = store.put(io.BytesIO(content))
        assert store.size(blob.digest) == size_bytes
        verify(store, blob)
        start = PART_BYTES - 100
        assert read(store, blob.digest, start=start, length=200) == content[start : start + 200]

    def test_putting_twice_gives_one_blob(self, store: BlobStore) -> None:
        assert store.put(io.BytesIO(b"x")) == store.put(io.BytesIO(b"x"))
        assert len(list(store.list())) == 1

    def test_lists_by_digest(self, store: BlobStore) -> None:
        assert list(store.list()) == []
        contents = [f"content {number}".encode() for number in range(20)]
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
        for start, length in ((0, None), (5, 5), (0, 0)):
            with pytest.raises(UnknownBlob):
                store.open(digest, start=start, length=length)
        with pytest.raises(UnknownBlob):
            store.size(digest)

    @pytest.mark.parametrize("text", ["", "../../etc/passwd", "A" * 64, "a" * 63, "/" + "a" * 63])
    def test_no_text_but_a_digest_is_a_key(self, store: BlobStore, text: str) -> None:
        for use in (store.open, store.size, store.exists, store.delete):
            with pytest.raises(UnknownBlob, match="no blob digest"):
                use(Digest(text))
        path = self.self_made(store, b"content")
        with pytest.raises(UnknownBlob, match="no blob digest"):
            store.commit(Staged(path=path, blob=Blob(digest=Digest(text), size_bytes=7)))

    @pytest.mark.parametrize(
        ("start", "length"), [(0, 1), (0, 256), (0, 999), (1, None), (17, 5), (250, 99), (255, 1), (255, None)]
    )
    def test_gives_ranges(self, store: BlobStore, start: int, length: int | None) -> None:
        blob = store.put(io.BytesIO(SOME_BYTES))
        stop = None if length is None else start + length
        assert read(store, blob.digest, start=start, length=length) == SOME_BYTES[start:stop]

    @pytest.mark.parametrize(("start", "length"), [(256, None), (256, 7), (256, 0), (3, 0), (0, 0)])
    def test_gives_ranges_of_nothing(self, store: BlobStore, start: int, length: int | None) -> None:
        blob = store.put(io.BytesIO(SOME_BYTES))
        assert read(store, blob.digest, start=start, length=length) == b""

    @pytest.mark.parametrize(("start", "length"), [(257, None), (257, 0), (10**15, 7), (-1, None), (-1, 5), (0, -1)])
    def test_refuses_ranges_outside(self, store: BlobStore, start: int, length: int | None) -> None:
        blob = store.put(io.BytesIO(SOME_BYTES))
        with pytest.raises(ValueError, match="256 bytes"):
            store.open(blob.digest, start=start, length=length)

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
        assert self.staged_files(store) == []
        assert list(store.list()) == []

    def test_takes_bytes_piece_by_piece(self, store: BlobStore) -> None:
        file = store.begin()
        assert file.path.parent == store.staging
        for piece in (b"one", b"", b", two", b", three"):
            file.write(piece)
        assert file.size_bytes == 15
        assert list(store.list()) == []
        staged = file.finish()
        assert staged == Staged(path=file.path, blob=Blob(digest=digest_of(b"one, two, three"), size_bytes=15))
        store.commit(staged)
        file.abort()
        assert read(store, staged.blob.digest) == b"one, two, three"

    @pytest.mark.parametrize("finished", [False, True])
    def test_given_up_pieces_are_gone(self, store: BlobStore, finished: bool) -> None:
        file = store.begin()
        file.write(b"pieces")
        if finished:
            file.finish()
        file.abort()
        file.abort()
        assert self.staged_files(store) == []
        assert list(store.list()) == []

    def test_a_limit_counts_bytes(self, store: BlobStore) -> None:
        assert store.put(io.BytesIO(b"12345"), limit_bytes=5).size_bytes == 5
        other = store.stage(io.BytesIO(b"kept"))
        with pytest.raises(BlobTooLarge):
            store.put(io.BytesIO(b"123456"), limit_bytes=5)
        file = store.begin(limit_bytes=5)
        file.write(b"123")
        with pytest.raises(BlobTooLarge, match="5 bytes"):
            file.write(b"456")
        assert file.size_bytes == 3
        file.abort()
        assert self.staged_files(store) == [other.path]

    def test_a_stream_that_fails_leaves_nothing(self, store: BlobStore) -> None:
        other = store.stage(io.BytesIO(b"kept"))
        broken: BinaryIO = BrokenStream()  # type: ignore[assignment]
        with pytest.raises(ConnectionResetError):
            store.put(broken)
        assert self.staged_files(store) == [other.path]
        assert list(store.list()) == []

    def test_takes_over_a_file_from_a_folder_in_staging(self, store: BlobStore) -> None:
        path = self.self_made(store, b"resumed")
        blob = Blob(digest=digest_of(b"resumed"), size_bytes=7)
        store.commit(Staged(path=path, blob=blob))
        assert not path.exists()
        assert list(store.list()) == [blob]
        verify(store, blob)

    def test_a_staged_file_that_is_gone(self, store: BlobStore) -> None:
        staged = store.stage(io.BytesIO(b"content"))
        staged.path.unlink()
        with pytest.raises(StoreUnavailable):
            store.commit(staged)
        assert not store.exists(staged.blob.digest)

    def test_a_staging_folder_that_cannot_be_written(self, store: BlobStore) -> None:
        if store.staging.exists():
            store.staging.rmdir()
        store.staging.parent.mkdir(parents=True, exist_ok=True)
        store.staging.write_bytes(b"no folder")
        with pytest.raises(StoreUnavailable, match="cannot write"):
            store.begin()
        with pytest.raises(StoreUnavailable, match="cannot write"):
            store.put(io.BytesIO(b"content"))

    def test_many_commit_the_same_at_once(self, store: BlobStore) -> None:
        content = SOME_BYTES * 1000
        staged = [store.stage(io.BytesIO(content)) for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(store.commit, staged))
        assert list(store.list()) == [staged[0].blob]
        verify(store, staged[0].blob)
        assert self.staged_files(store) == []

    def test_many_put_different_blobs_at_once(self, store: BlobStore) -> None:
        contents = [f"content {number}".encode() * 1000 for number in range(16)]
        with ThreadPoolExecutor(8) as threads:
            blobs = list(threads.map(lambda content: store.put(io.BytesIO(content)), contents))
        assert [read(store, blob.digest) for blob in blobs] == contents
        assert len(list(store.list())) == len(contents)

    def test_committing_heals_a_damaged_blob(self, store: BlobStore) -> None:
        wrong = Blob(digest=digest_of(b"right"), size_bytes=5)
        store.commit(Staged(path=self.self_made(store, b"wrong"), blob=wrong))
        store.put(io.BytesIO(b"right"))
        verify(store, wrong)

    def test_old_staged_files_are_left_over(self, store: BlobStore) -> None:
        assert self.file_leftovers(store) == []
        old, young = store.stage(io.BytesIO(b"of yesterday")), store.stage(io.BytesIO(b"of today"))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self.age(old.path, yesterday)
        self.age(self.self_made(store, b"of an upload"), yesterday)
        self.age(self.self_made(store, b"of somebody else", folder="", name="notes.txt"), yesterday)
        (leftover,) = store.leftovers(yesterday + timedelta(hours=1))
        assert (leftover.name, leftover.size_bytes, leftover.upload_id) == (str(old.path), 12, None)
        assert abs(leftover.modified_at - yesterday) < timedelta(seconds=2)
        assert list(store.leftovers(yesterday - timedelta(hours=1))) == []
        store.remove_leftover(leftover)
        store.remove_leftover(leftover)
        assert not old.path.exists()
        assert [leftover.name for leftover in self.file_leftovers(store)] == [str(young.path)]

    def test_a_leftover_that_lives_stays(self, store: BlobStore) -> None:
        staged = store.stage(io.BytesIO(b"content"))
        (leftover,) = self.file_leftovers(store)
        self.age(staged.path, datetime.now(UTC) - timedelta(days=1))
        store.remove_leftover(leftover)
        assert staged.path.exists()

    def test_nothing_outside_staging_is_a_leftover(self, store: BlobStore, tmp_path: Path) -> None:
        path = tmp_path / "precious.part"
        path.write_bytes(b"")
        os.utime(path, (0, 0))
        upload = self.self_made(store, b"")
        os.utime(upload, (0, 0))
        for precious in (path, upload):
            zero = datetime.fromtimestamp(0, UTC)
            store.remove_leftover(Leftover(name=str(precious), modified_at=zero, size_bytes=0))
            assert precious.exists()

    def staged_files(self, store: BlobStore) -> list[Path]:
        return sorted(store.staging.iterdir())

    def file_leftovers(self, store: BlobStore) -> list[Leftover]:
        return [leftover for leftover in store.leftovers(soon()) if leftover.upload_id is None]

    def self_made(self, store: BlobStore, content: bytes, *, folder: str = "uploads", name: str = "one.part") -> Path:
        path = store.staging / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def age(self, path: Path, moment: datetime) -> None:
        os.utime(path, (moment.timestamp(), moment.timestamp()))
