"""Resumable uploads: where they go on, who owns them, one writer at a time, and what is left of them."""

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update

from madx.errors import InvalidWeights
from madx.manifest import Digest
from registry import uploads
from registry.errors import (
    BlobTooLarge,
    DatabaseUnavailable,
    StoreUnavailable,
    TooManyUploads,
    UnknownUpload,
    UploadBusy,
    UploadIncomplete,
    WrongRange,
)
from registry.models import UploadRow
from registry.publish import prepare, publish_staged
from registry.refusals import DigestMismatch
from registry.registry import Registry
from registry.uploads import UploadLimits
from registry.values import Upload
from tests.support.made_adapters import made_adapter

ANA, BEN = "key ana", "key ben"
LIMITS = UploadLimits(size_bytes=100_000, life=timedelta(hours=1), per_actor=3)


def digest(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def opened(registry: Registry, size_bytes: int | None = None) -> Upload:
    return uploads.open_upload(registry, actor=ANA, limits=LIMITS, size_bytes=size_bytes)


def appended(registry: Registry, upload: str, content: bytes, start: int = 0) -> Upload:
    append = uploads.begin_append(registry, upload, start=start, actor=ANA, limits=LIMITS)
    try:
        append.write(content)
    finally:
        state = append.close()
    return state


def finished(registry: Registry, content: bytes) -> str:
    upload = opened(registry).id
    appended(registry, upload, content)
    return uploads.finish_upload(registry, upload, digest(content), actor=ANA, limits=LIMITS).id


def files(registry: Registry) -> list[str]:
    staging = registry.store.staging
    return sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())


def outlive(registry: Registry) -> datetime:
    return datetime.now(UTC) + LIMITS.life + timedelta(seconds=1)


@pytest.fixture
def made() -> tuple[bytes, bytes]:
    return made_adapter()


def test_pieces_become_one_file_that_is_published(registry: Registry, made: tuple[bytes, bytes]) -> None:
    manifest, weights = made
    upload = opened(registry, size_bytes=len(weights))
    assert (upload.received_bytes, upload.size_bytes, upload.complete) == (0, len(weights), False)
    half = len(weights) // 2
    assert appended(registry, upload.id, weights[:half]).received_bytes == half
    assert uploads.show_upload(registry, upload.id, actor=ANA).received_bytes == half
    appended(registry, upload.id, weights[half:], start=half)
    whole = uploads.finish_upload(registry, upload.id, digest(weights), actor=ANA, limits=LIMITS)
    assert whole.complete
    assert whole.digest == digest(weights)
    with uploads.taken(registry, upload.id, actor=ANA) as staged:
        published = publish_staged(registry, prepare(registry, manifest, name="sw"), staged, actor=ANA)
    assert published.version.weights_digest == digest(weights)
    with registry.store.open(published.version.weights_digest) as stream:
        assert stream.read(len(weights) + 1) == weights
    assert files(registry) == []
    with pytest.raises(UnknownUpload):
        uploads.show_upload(registry, upload.id, actor=ANA)


def test_a_refused_publish_leaves_the_upload(registry: Registry, made: tuple[bytes, bytes]) -> None:
    manifest, weights = made
    wrong = finished(registry, weights[:-1])
    prepared = prepare(registry, manifest, name="sw")
    with pytest.raises(InvalidWeights), uploads.taken(registry, wrong, actor=ANA) as staged:
        publish_staged(registry, prepared, staged)
    assert files(registry) == [f"uploads/{wrong}"]
    assert uploads.show_upload(registry, wrong, actor=ANA).complete
    assert list(registry.store.list()) == []


@pytest.mark.parametrize("start", [1, 4, 6, 2**62])
def test_gaps_and_overlaps_are_refused(registry: Registry, start: int) -> None:
    upload = opened(registry).id
    appended(registry, upload, b"12345")
    with pytest.raises(WrongRange) as caught:
        appended(registry, upload, b"x", start=start)
    assert caught.value.received_bytes == 5
    assert appended(registry, upload, b"6", start=5).received_bytes == 6


def test_a_piece_beyond_the_size_is_refused(registry: Registry) -> None:
    with pytest.raises(BlobTooLarge):
        opened(registry, size_bytes=LIMITS.size_bytes + 1)
    named, unnamed = opened(registry, size_bytes=4).id, opened(registry).id
    with pytest.raises(BlobTooLarge):
        appended(registry, named, b"12345")
    with pytest.raises(BlobTooLarge):
        appended(registry, unnamed, bytes(LIMITS.size_bytes + 1))
    assert uploads.show_upload(registry, named, actor=ANA).received_bytes == 0
    assert appended(registry, named, b"1234").received_bytes == 4


def test_it_belongs_to_its_actor(registry: Registry) -> None:
    upload = opened(registry).id
    with pytest.raises(UnknownUpload):
        uploads.show_upload(registry, upload, actor=BEN)
    with pytest.raises(UnknownUpload):
        uploads.begin_append(registry, upload, start=0, actor=BEN, limits=LIMITS)
    with pytest.raises(UnknownUpload):
        uploads.finish_upload(registry, upload, digest(b""), actor=BEN, limits=LIMITS)
    with pytest.raises(UnknownUpload):
        uploads.cancel_upload(registry, upload, actor=BEN)
    with pytest.raises(UnknownUpload), uploads.taken(registry, upload, actor=BEN):
        pass
    assert uploads.show_upload(registry, upload, actor=ANA).id == upload


@pytest.mark.parametrize("upload", ["", "..", "../../registry.sqlite", "0" * 31, "A" * 32, "0" * 32, "\0" * 32])
def test_what_is_no_upload_is_unknown(registry: Registry, upload: str) -> None:
    with pytest.raises(UnknownUpload):
        uploads.show_upload(registry, upload, actor=ANA)
    with pytest.raises(UnknownUpload):
        uploads.begin_append(registry, upload, start=0, actor=ANA, limits=LIMITS)
    with pytest.raises(UnknownUpload):
        uploads.cancel_upload(registry, upload, actor=ANA)


def test_one_writer_at_a_time(registry: Registry) -> None:
    upload = opened(registry).id
    append = uploads.begin_append(registry, upload, start=0, actor=ANA, limits=LIMITS)
    append.write(b"123")
    with pytest.raises(UploadBusy):
        uploads.begin_append(registry, upload, start=0, actor=ANA, limits=LIMITS)
    with pytest.raises(UploadBusy):
        uploads.finish_upload(registry, upload, digest(b"123"), actor=ANA, limits=LIMITS)
    with pytest.raises(UploadBusy):
        uploads.cancel_upload(registry, upload, actor=ANA)
    assert uploads.expire_uploads(registry, outlive(registry)) == ()
    append.close()
    assert uploads.finish_upload(registry, upload, digest(b"123"), actor=ANA, limits=LIMITS).complete


def test_a_wrong_digest_leaves_the_upload(registry: Registry) -> None:
    upload = opened(registry).id
    appended(registry, upload, b"123")
    with pytest.raises(DigestMismatch):
        uploads.finish_upload(registry, upload, digest(b"124"), actor=ANA, limits=LIMITS)
    appended(registry, upload, b"4", start=3)
    assert uploads.finish_upload(registry, upload, digest(b"1234"), actor=ANA, limits=LIMITS).complete
    again = uploads.finish_upload(registry, upload, digest(b"1234"), actor=ANA, limits=LIMITS)
    assert again.size_bytes == 4
    with pytest.raises(DigestMismatch):
        uploads.finish_upload(registry, upload, digest(b"123"), actor=ANA, limits=LIMITS)


def test_a_size_that_was_named_must_come(registry: Registry) -> None:
    upload = opened(registry, size_bytes=5).id
    appended(registry, upload, b"1234")
    with pytest.raises(DigestMismatch, match="4 of 5"):
        uploads.finish_upload(registry, upload, digest(b"1234"), actor=ANA, limits=LIMITS)


def test_nothing_is_added_to_a_finished_one(registry: Registry) -> None:
    """Its file may already be a blob's second name."""
    upload = finished(registry, b"123")
    with pytest.raises(WrongRange, match="complete"):
        appended(registry, upload, b"4", start=3)


def test_an_unfinished_one_is_not_published(registry: Registry) -> None:
    upload = opened(registry).id
    with pytest.raises(UploadIncomplete), uploads.taken(registry, upload, actor=ANA):
        pass
    assert files(registry) == [f"uploads/{upload}"]


def test_an_actor_has_so_many(registry: Registry) -> None:
    first, *_ = [opened(registry).id for _ in range(LIMITS.per_actor)]
    with pytest.raises(TooManyUploads):
        opened(registry)
    assert len(files(registry)) == LIMITS.per_actor
    uploads.open_upload(registry, actor=BEN, limits=LIMITS)
    uploads.cancel_upload(registry, first, actor=ANA)
    opened(registry)


def test_expiry_takes_row_and_file(registry: Registry) -> None:
    old, young = opened(registry).id, opened(registry).id
    with registry.database.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(UploadRow).where(UploadRow.id == old).values(expires_at=past))
    with pytest.raises(UnknownUpload):
        uploads.show_upload(registry, old, actor=ANA)
    now = datetime.now(UTC)
    assert [upload.id for upload in uploads.expired_uploads(registry, now)] == [old]
    assert [upload.id for upload in uploads.expire_uploads(registry, now)] == [old]
    assert files(registry) == [f"uploads/{young}"]
    assert uploads.expire_uploads(registry, now) == ()


@pytest.mark.parametrize("expires", [False, True])
def test_room_is_made_before_the_database_writes(registry: Registry, expires: bool) -> None:
    """On a disk that uploads have filled no row can be changed until a file is gone."""
    nowhere = create_engine("sqlite:////nowhere/that/is/written")
    reading_alone = replace(registry, database=replace(registry.database, writer=nowhere))
    upload, later = finished(registry, b"abc"), outlive(registry)
    expire = partial(uploads.expire_uploads, reading_alone, later)
    cancel = partial(uploads.cancel_upload, reading_alone, upload, actor=ANA)
    with pytest.raises(DatabaseUnavailable):
        (expire if expires else cancel)()
    nowhere.dispose()
    assert files(registry) == []
    with pytest.raises(UnknownUpload):
        uploads.show_upload(registry, upload, actor=ANA)
    assert [gone.id for gone in uploads.expire_uploads(registry, later)] == [upload]


def test_each_piece_prolongs_its_life(registry: Registry) -> None:
    upload = opened(registry)
    longer = UploadLimits(size_bytes=10, life=timedelta(hours=5), per_actor=1)
    append = uploads.begin_append(registry, upload.id, start=0, actor=ANA, limits=longer)
    assert append.close().expires_at - upload.expires_at > timedelta(hours=3)


def test_files_without_a_row_are_swept_after_an_hour(registry: Registry) -> None:
    opened(registry)
    folder = registry.store.staging / uploads.FOLDER
    young, old, foreign = folder / ("a" * 32), folder / ("b" * 32), folder / "notes.txt"
    for path in (young, old, foreign):
        path.write_bytes(b"x")
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    for path in (old, foreign):
        os.utime(path, (long_ago, long_ago))
    uploads.expire_uploads(registry, datetime.now(UTC))
    assert young.exists()
    assert foreign.exists()
    assert not old.exists()


def test_a_row_whose_file_lies_elsewhere_is_unknown_here(registry: Registry) -> None:
    upload = opened(registry).id
    (registry.store.staging / uploads.FOLDER / upload).unlink()
    with pytest.raises(UnknownUpload):
        uploads.show_upload(registry, upload, actor=ANA)
    with pytest.raises(UnknownUpload):
        appended(registry, upload, b"1")
    assert [gone.id for gone in uploads.expire_uploads(registry, outlive(registry))] == [upload]


def test_a_folder_that_cannot_be_written(registry: Registry) -> None:
    registry.store.staging.mkdir(parents=True, exist_ok=True)
    (registry.store.staging / uploads.FOLDER).write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        opened(registry)


def test_collection_does_not_take_the_second_name_for_a_leftover(registry: Registry, tmp_path: Path) -> None:
    upload = finished(registry, b"123")
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(registry.store.staging / uploads.FOLDER / upload, (long_ago, long_ago))
    with uploads.taken(registry, upload, actor=ANA):
        assert list(registry.store.leftovers(datetime.now(UTC) - timedelta(days=1))) == []
