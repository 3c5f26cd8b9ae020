"""A version on its way in over HTTP: form -> manifest -> weights in a temporary file -> the registry's `publish`.

Everything that blocks runs in the intake's threads; the event loop only passes pieces on. Whatever goes wrong, the
temporary file is gone afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from madx.errors import InvalidManifest
from registry.errors import BlobTooLarge, UnknownUpload, UploadIncomplete
from registry.gate import MAX_MANIFEST_BYTES
from registry.publish import Prepared, publish_staged, too_long
from registry.registry import Registry
from registry.stores import Staged, StagingFile
from registry.uploads import taken
from registry.values import PublishedVersion
from registry.weights_header import PREFIX_BYTES, header_end

from .errors import InvalidRequest
from .intake import Intake
from .multipart import Form

PIECE_BYTES = 1 << 20
MANIFEST, WEIGHTS, UPLOAD = FIELDS = ("manifest", "weights", "upload")
_MOST_UPLOAD_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Publishes for one request. `actor` is who asks."""

    registry: Registry
    intake: Intake
    actor: str

    async def publish(self, form: Form, prepared: Prepared) -> PublishedVersion:
        """What follows the manifest. Raises what `registry.publish` raises, and `InvalidRequest` with the field."""
        name = await form.next_part()
        if name == UPLOAD:
            upload = await _read_upload(form)
            await _end(form)
            return await self.intake.publish(_publish_upload, self.registry, prepared, upload, self.actor)
        if name != WEIGHTS:
            raise _misplaced(name, expected="weights or upload", field=WEIGHTS)
        staged = await self._stage(form, prepared)
        try:
            await _end(form)
            return await self.intake.publish(_publish, self.registry, prepared, staged, self.actor)
        finally:
            await self.intake.write(self.registry.store.discard, staged)

    async def _stage(self, form: Form, prepared: Prepared) -> Staged:
        file = await self.intake.write(_begin, self.registry, prepared)
        try:
            await self._receive(form, prepared, file)
            return await self.intake.write(file.finish)
        except BlobTooLarge as error:
            await self.intake.write(file.abort)
            raise too_long(prepared) from error
        except BaseException:
            await self.intake.write(file.abort)
            raise

    async def _receive(self, form: Form, prepared: Prepared, file: StagingFile) -> None:
        """The header is judged as soon as it is there, before what follows it; the rest of the body waits for that."""
        head, header_bytes = await _read_head(form)
        await self.intake.write(_write, file, [head[:header_bytes]])
        if header_bytes is None:
            return
        await self.intake.judge(_judge_header, self.registry, prepared, file)
        await self.intake.write(_write, file, [head[header_bytes:]])
        while (piece := await form.piece(PIECE_BYTES)) is not None:
            await self.intake.write(_write, file, piece)


async def _read_head(form: Form) -> tuple[bytes, int | None]:
    """The part until its safetensors header is complete, and the bytes of that; the whole part and None where it ends
    before.
    """
    head = bytearray()
    while (piece := await form.piece(1)) is not None:
        head += b"".join(piece)
        if len(head) >= PREFIX_BYTES:
            header_bytes = header_end(bytes(head[:PREFIX_BYTES]))
            if len(head) >= header_bytes:
                return bytes(head), header_bytes
    return bytes(head), None


async def read_manifest(form: Form) -> bytes:
    """The form's first part. Raises `InvalidRequest` with the field, and `InvalidManifest` for one that is too long."""
    name = await form.next_part()
    if name != MANIFEST:
        raise _misplaced(name, expected=MANIFEST, field=MANIFEST)
    content = await form.read(MAX_MANIFEST_BYTES)
    if content is None:
        raise InvalidManifest(f"the manifest has more than the {MAX_MANIFEST_BYTES} bytes that are allowed")
    return content


async def _read_upload(form: Form) -> str:
    content = await form.read(_MOST_UPLOAD_BYTES)
    if content is None or not content.isascii():
        raise InvalidRequest("upload is the id of a finished upload", field=UPLOAD)
    return content.decode("ascii").strip()


async def _end(form: Form) -> None:
    name = await form.next_part()
    if name is not None:
        raise _misplaced(name, expected="nothing more", field=name)


def _misplaced(name: str | None, *, expected: str, field: str) -> InvalidRequest:
    if name is None:
        return InvalidRequest(f"the form ends where {expected} should follow", field=field)
    if name not in FIELDS:
        return InvalidRequest(f"{name} is no field of this form; it has manifest, then weights or upload", field=name)
    return InvalidRequest(
        f"the form has {name} where {expected} should be; the manifest comes first, and each field once", field=field
    )


def _begin(registry: Registry, prepared: Prepared) -> StagingFile:
    return registry.store.begin(limit_bytes=prepared.manifest.weights.size_bytes)


def _write(file: StagingFile, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        file.write(chunk)


def _judge_header(registry: Registry, prepared: Prepared, file: StagingFile) -> None:
    file.flush()
    registry.gatekeeper.check_header(file.path, prepared.expected, file_bytes=prepared.manifest.weights.size_bytes)


def _publish(registry: Registry, prepared: Prepared, staged: Staged, actor: str) -> PublishedVersion:
    return publish_staged(registry, prepared, staged, actor=actor)


def _publish_upload(registry: Registry, prepared: Prepared, upload: str, actor: str) -> PublishedVersion:
    """Where the version is there already, no upload is needed: this one may be what it was published from."""
    try:
        with taken(registry, upload, actor=actor) as staged:
            if staged.blob.size_bytes > prepared.manifest.weights.size_bytes:
                raise too_long(prepared)
            return publish_staged(registry, prepared, staged, actor=actor)
    except (UnknownUpload, UploadIncomplete):
        if prepared.present is None:
            raise
        return PublishedVersion(version=prepared.present, created=False)
