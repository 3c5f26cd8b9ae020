"""Blobs in a bucket of an S3-compatible server: `prefix/ab/cdef…` by digest, staged in a local folder.

A key is only ever written whole, with the bytes it is named after. So it is all the same which of two writers comes
last, and nothing rests on conditional requests, which several servers do not keep.
"""

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.exceptions import ClientError

from madx.manifest import Digest

from ..errors import StoreUnavailable, UnknownBlob
from .blob import Blob, Leftover, Staged, check_digest
from .reader import check_range, reader
from .s3_client import shown_endpoint
from .s3_errors import READING_FAILURES, error_code, translated
from .staging import StagingFile, remove_staged, remove_staged_leftover, stage_stream, staged_leftovers

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, MultipartUploadTypeDef

KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})")
PART_BYTES = 8 << 20


class S3Store:
    """Owns `client`. `prefix` is empty or ends with a slash. Files above 8 MiB go up in parts of that size.

    Parts are read from the file while they are sent, one after the other, so an upload takes little memory.
    """

    def __init__(self, client: "S3Client", bucket: str, prefix: str, *, staging: Path) -> None:
        self.staging = staging
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._place = f"bucket {bucket!r} at {shown_endpoint(client.meta.endpoint_url)}"
        self._transfer = TransferConfig(
            multipart_threshold=PART_BYTES + 1,
            multipart_chunksize=PART_BYTES,
            use_threads=False,
            preferred_transfer_client="classic",
        )

    def begin(self, *, limit_bytes: int | None = None) -> StagingFile:
        return StagingFile(self.staging, limit_bytes=limit_bytes)

    def stage(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Staged:
        return stage_stream(stream, self.begin(limit_bytes=limit_bytes))

    def commit(self, staged: Staged) -> None:
        """A multipart upload that fails is aborted; one whose process dies is a leftover."""
        key = self._key(staged.blob.digest)
        with translated(self._place), create_transfer_manager(self._client, self._transfer) as manager:
            manager.upload(str(staged.path), self._bucket, key).result()
        remove_staged(staged.path)

    def discard(self, staged: Staged) -> None:
        remove_staged(staged.path)

    def put(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Blob:
        staged = self.stage(stream, limit_bytes=limit_bytes)
        try:
            self.commit(staged)
        finally:
            self.discard(staged)
        return staged.blob

    def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
        if start < 0 or (length is not None and length <= 0):  # no Range header can say these
            return self._no_bytes(digest, start, length)
        answer = self._get(digest, start, length)
        if answer is None:
            return self._no_bytes(digest, start, length)
        if (start or length is not None) and "ContentRange" not in answer:
            answer["Body"].close()
            raise StoreUnavailable(f"{self._place} ignores ranges; use a server that serves them")
        return reader(digest, answer["Body"], answer["ContentLength"], READING_FAILURES)

    def size(self, digest: Digest) -> int:
        key = self._key(digest)
        try:
            with translated(self._place, digest):
                return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
        except UnknownBlob:
            self._check_bucket()
            raise

    def exists(self, digest: Digest) -> bool:
        check_digest(digest)
        try:
            self.size(digest)
        except UnknownBlob:
            return False
        return True

    def list(self) -> Iterator[Blob]:
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix))
        truncated = True
        while True:
            with translated(self._place):
                page = next(pages, None)
            if page is None:
                break
            for entry in page.get("Contents", []):
                digest = self._digest(entry["Key"])
                if digest is not None:
                    yield Blob(digest=digest, size_bytes=entry["Size"])
            truncated = page["IsTruncated"]
        if truncated:
            raise StoreUnavailable(f"{self._place} broke off a listing; try again")

    def delete(self, digest: Digest) -> None:
        key = self._key(digest)
        with suppress(UnknownBlob), translated(self._place, digest):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def leftovers(self, before: datetime) -> Iterator[Leftover]:
        yield from staged_leftovers(self.staging, before)
        for upload in self._uploads():
            if self._digest(upload["Key"]) is not None and upload["Initiated"] < before:
                leftover = self._leftover(upload)
                if leftover is not None:
                    yield leftover

    def remove_leftover(self, leftover: Leftover) -> None:
        if leftover.upload_id is None:
            return remove_staged_leftover(self.staging, leftover)
        with translated(self._place):
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=leftover.name, UploadId=leftover.upload_id)
            except ClientError as error:
                if error_code(error) != "NoSuchUpload":
                    raise

    def close(self) -> None:
        self._client.close()

    def _get(self, digest: Digest, start: int, length: int | None) -> "GetObjectOutputTypeDef | None":
        """None where the range holds nothing, or starts beyond the end."""
        key = self._key(digest)
        wanted = f"bytes={start}-" if length is None else f"bytes={start}-{start + length - 1}"
        with translated(self._place, digest):
            if start == 0 and length is None:
                return self._client.get_object(Bucket=self._bucket, Key=key)
            try:
                return self._client.get_object(Bucket=self._bucket, Key=key, Range=wanted)
            except ClientError as error:
                if error_code(error) in ("InvalidRange", "416"):
                    return None
                raise

    def _no_bytes(self, digest: Digest, start: int, length: int | None) -> BinaryIO:
        if check_range(digest, start, length, self.size(digest)):
            raise StoreUnavailable(f"{self._place} refused a range of blob {digest} that it has; try again")
        return io.BytesIO()

    def _check_bucket(self) -> None:
        """Asking for an object says only that something was not found; a missing bucket must not look like one."""
        with translated(self._place):
            self._client.head_bucket(Bucket=self._bucket)

    def _uploads(self) -> "Iterator[MultipartUploadTypeDef]":
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with translated(self._place):
            uploads = [upload for page in pages for upload in page.get("Uploads", [])]
        yield from uploads

    def _leftover(self, upload: "MultipartUploadTypeDef") -> Leftover | None:
        """None where the upload has ended meanwhile."""
        parts = self._client.get_paginator("list_parts").paginate(
            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        )
        with translated(self._place):
            try:
                size_bytes = sum(part["Size"] for page in parts for part in page.get("Parts", []))
            except ClientError as error:
                if error_code(error) == "NoSuchUpload":
                    return None
                raise
        return Leftover(
            name=upload["Key"],
            modified_at=upload["Initiated"],
            size_bytes=size_bytes,
            upload_id=upload["UploadId"],
        )

    def _key(self, digest: Digest) -> str:
        check_digest(digest)
        return f"{self._prefix}{digest[:2]}/{digest[2:]}"

    def _digest(self, key: str) -> Digest | None:
        """None for what is no blob's key."""
        match = KEY.fullmatch(key.removeprefix(self._prefix))
        return None if match is None else Digest(match[1] + match[2])
