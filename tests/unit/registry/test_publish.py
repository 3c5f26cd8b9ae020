"""Publishing: what becomes a version, what is refused, and that a refusal leaves nothing."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save
from sqlalchemy import select

from madx.errors import GlossaError, InvalidManifest, InvalidWeights
from madx.manifest import Kind, digest_of, from_bytes, to_bytes
from registry import catalog, search, versions
from registry.errors import Conflict, InvalidName, UnknownBackbone, UnknownVersion
from registry.models import AuditRow
from registry.publish import publish
from registry.references import AdapterRef
from registry.registry import Registry
from registry.stores.base import verify
from registry.stores.local import LocalStore
from tests.support.made_adapters import (
    OTHER_FINGERPRINT,
    add_made_backbone,
    made_adapter,
    made_manifest,
    made_tensors,
    publish_made,
    written,
)


def assert_nothing_left(registry: Registry) -> None:
    assert search.search_adapters(registry).items == ()
    assert list(registry.store.list()) == []
    assert isinstance(registry.store, LocalStore)
    assert [path for path in registry.store.root.rglob("*") if path.is_file()] == []


def test_publishes_a_version(registry: Registry, tmp_path: Path) -> None:
    manifest, weights = made_adapter()
    published = publish(registry, manifest, written(tmp_path / "weights", weights), name="sw-tiny", actor="amina")
    version = published.version
    assert published.created
    assert version.reference == "sw-tiny@1"
    assert (version.kind, version.language, version.task) == ("language", "sw", None)
    assert version.manifest_bytes == manifest
    assert version.manifest == from_bytes(manifest)
    assert version.manifest_digest == digest_of(manifest)
    assert version.weights_digest == digest_of(weights)
    assert version.size_bytes == len(weights)
    assert version.created_at.utcoffset() is not None
    with registry.store.open(version.weights_digest) as stream:
        assert stream.read() == weights
    assert catalog.resolve(registry, AdapterRef(name="sw-tiny")) == version


def test_keeps_the_manifest_byte_for_byte(registry: Registry) -> None:
    manifest, weights = made_adapter()
    other_bytes = b"  " + manifest.replace(b"\n", b"\r\n")
    version = publish(registry, other_bytes, io.BytesIO(weights), name="sw").version
    assert version.manifest_bytes == other_bytes
    assert version.manifest_digest == digest_of(other_bytes)


def test_numbers_count_on(registry: Registry) -> None:
    assert [publish_made(registry, "sw", seed=seed).number for seed in range(3)] == [1, 2, 3]
    assert publish_made(registry, "ner", "task", key="ner").number == 1


def test_publishing_the_same_again_changes_nothing(registry: Registry) -> None:
    first = publish_made(registry, "sw", seed=1)
    publish_made(registry, "sw", seed=2)
    events = catalog.events_after(registry, 0)
    manifest, weights = made_adapter(seed=1)
    again = publish(registry, manifest, io.BytesIO(weights), name="sw")
    assert again.version == first
    assert not again.created
    assert catalog.events_after(registry, 0) == events


def test_the_same_content_under_another_name_shares_the_blob(registry: Registry) -> None:
    assert publish_made(registry, "sw-a").weights_digest == publish_made(registry, "sw-b").weights_digest
    assert len(list(registry.store.list())) == 1


def test_publishing_again_heals_a_damaged_blob(registry: Registry) -> None:
    version = publish_made(registry, "sw")
    assert isinstance(registry.store, LocalStore)
    (blob,) = registry.store.list()
    path = registry.store.root / blob.digest[:2] / blob.digest[2:]
    for damage in (lambda: path.write_bytes(b"rotten"), path.unlink):
        before = catalog.events_after(registry, 0)
        damage()
        assert publish_made(registry, "sw") == version
        verify(registry.store, blob)
        event = catalog.events_after(registry, 0)[len(before)]
        assert (event.action, event.subject) == ("version.healed", "sw@1")


def test_publishing_a_deleted_version_brings_it_back(registry: Registry) -> None:
    first = publish_made(registry, "sw", seed=1)
    publish_made(registry, "sw", seed=2)
    versions.delete_version(registry, "sw", 1)
    with pytest.raises(UnknownVersion):
        catalog.resolve(registry, AdapterRef(name="sw", number=1))
    assert publish_made(registry, "sw", seed=1) == first
    assert catalog.resolve(registry, AdapterRef(name="sw", number=1)) == first


def test_the_number_of_a_deleted_version_is_not_given_again(registry: Registry) -> None:
    publish_made(registry, "sw", seed=1)
    versions.delete_version(registry, "sw", 1)
    assert publish_made(registry, "sw", seed=2).number == 2


def test_audit_and_event_come_with_the_version(registry: Registry) -> None:
    manifest, weights = made_adapter()
    publish(registry, manifest, io.BytesIO(weights), name="sw", actor="amina")
    event = catalog.events_after(registry, 0)[-1]
    assert (event.action, event.subject) == ("version.published", "sw@1")
    assert event.detail["language"] == "sw"
    with registry.database.reading() as session:
        audit = session.scalars(select(AuditRow).order_by(AuditRow.id.desc())).first()
        assert audit is not None
        assert (audit.actor, audit.action, audit.subject) == ("amina", "version.published", "sw@1")


@pytest.mark.parametrize(("kind", "key"), [("task", "ner"), ("language", "yo")])
def test_a_name_stands_for_one_thing_for_ever(registry: Registry, kind: Kind, key: str) -> None:
    publish_made(registry, "sw")
    with pytest.raises(Conflict, match="another name"):
        publish_made(registry, "sw", kind, key=key)
    assert len(list(registry.store.list())) == 1
    assert len(catalog.show(registry, "sw").versions) == 1


def test_refuses_a_backbone_that_nobody_added(registry: Registry) -> None:
    with pytest.raises(UnknownBackbone, match=r"b2b2b2b2b2b2.*known: tiny \(a1a1a1a1a1a1\).*backbones add"):
        publish_made(registry, "sw", fingerprint=OTHER_FINGERPRINT)
    assert_nothing_left(registry)


def test_one_name_may_hold_versions_for_two_backbones(registry: Registry) -> None:
    add_made_backbone(registry, OTHER_FINGERPRINT, "other")
    publish_made(registry, "sw")
    assert publish_made(registry, "sw", fingerprint=OTHER_FINGERPRINT).number == 2


def test_refuses_a_bad_name_before_reading(registry: Registry) -> None:
    manifest, weights = made_adapter()
    stream = io.BytesIO(weights)
    with pytest.raises(InvalidName):
        publish(registry, manifest, stream, name="Not/A/Name")
    assert stream.tell() == 0


def test_refuses_what_is_no_manifest(registry: Registry) -> None:
    for content in (b"", b"[]", b"{}", b"\xff"):
        with pytest.raises(InvalidManifest):
            publish(registry, content, io.BytesIO(b""), name="sw")
    assert_nothing_left(registry)


def test_refuses_absurd_sizes_before_reading(registry: Registry) -> None:
    weights = save(made_tensors())
    manifest = made_manifest(weights)
    huge = replace(manifest, weights=replace(manifest.weights, size_bytes=1 << 40))
    stream = io.BytesIO(weights)
    with pytest.raises(InvalidWeights, match="needs no more than"):
        publish(registry, to_bytes(huge), stream, name="sw")
    assert stream.tell() == 0


def test_reads_no_further_than_the_manifest_says(registry: Registry) -> None:
    manifest, weights = made_adapter()
    stream = io.BytesIO(weights + b"\0" * (10 << 20))
    with pytest.raises(InvalidWeights) as caught:
        publish(registry, manifest, stream, name="sw")
    assert caught.value.code == "digest_mismatch"
    assert stream.tell() < 2 << 20
    assert_nothing_left(registry)


@pytest.mark.parametrize("kept_bytes", [0, 7, 100, -1])
def test_a_truncated_file_publishes_nothing(registry: Registry, kept_bytes: int) -> None:
    manifest, weights = made_adapter()
    with pytest.raises(InvalidWeights) as caught:
        publish(registry, manifest, io.BytesIO(weights[:kept_bytes]), name="sw")
    assert caught.value.code == "truncated"
    assert_nothing_left(registry)


def test_weights_that_are_not_there(registry: Registry, tmp_path: Path) -> None:
    manifest, _ = made_adapter()
    with pytest.raises(GlossaError, match="cannot read"):
        publish(registry, manifest, tmp_path / "nothing", name="sw")
    assert_nothing_left(registry)
