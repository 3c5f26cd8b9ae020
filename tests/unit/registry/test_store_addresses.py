"""Blob addresses to stores, and AWS settings to clients: what is refused, and what servers other than AWS get."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.servers.object_stores import aws_environment
from madx.manifest import Digest
from registry.errors import StoreUnavailable, UnsupportedStore
from registry.stores import open_store, s3_client
from registry.stores.s3_client import open_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OTHER = "http://127.0.0.1:9"
DIGEST = Digest("ab" * 32)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of nobody: no profile and no variable of the machine's own."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in aws_environment(OTHER, "key", "hidden", tmp_path).items():
        monkeypatch.setenv(name, value)


def checksums(client: "S3Client") -> tuple[str, str]:
    config = client.meta.config
    return config.request_checksum_calculation, config.response_checksum_validation  # type: ignore[attr-defined]


def signed_url(client: "S3Client") -> str:
    return client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://a.bucket-1/some/prefix", "s3://bucket/prefix/"])
def test_opens_a_bucket(url: str, tmp_path: Path) -> None:
    store = open_store(url, staging=tmp_path / "staging")
    assert store.staging == tmp_path / "staging"
    assert not store.staging.exists()
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:bucket",
        "s3:///prefix",
        "s3://b",
        "s3://bucket/a//b",
        "s3://bucket/../other",
        "s3://bucket/white space",
        "s3://bucket/prefix?region=here",
        "s3://bucket/prefix#part",
        "s3://bücket/prefix",
    ],
)
def test_refuses_what_is_no_bucket(url: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedStore, match="write s3://bucket or s3://bucket/prefix"):
        open_store(url, staging=tmp_path)


def test_refuses_what_is_no_address() -> None:
    with pytest.raises(UnsupportedStore, match="s3://bucket/prefix"):
        open_store("s3://[bucket/prefix")


def test_repeats_no_key_from_an_address(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedStore, match="AWS_ACCESS_KEY_ID") as raised:
        open_store("s3://key:hidden@bucket/prefix", staging=tmp_path)
    assert "hidden" not in str(raised.value)


def test_a_bucket_needs_a_staging_folder() -> None:
    with pytest.raises(ValueError, match="temporary files"):
        open_store("s3://bucket/prefix")


def test_local_stores_need_no_boto3() -> None:
    program = "import sys, registry.registry, registry.stores; assert not {'boto3', 'botocore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_another_server_gets_paths_and_required_checksums() -> None:
    client = open_client()
    assert signed_url(client).startswith(f"{OTHER}/bucket/key?")
    assert checksums(client) == ("when_required", "when_required")


def test_another_server_needs_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    assert open_client().meta.region_name == "us-east-1"


def test_amazon_gets_what_boto3_does_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    client = open_client()
    assert signed_url(client).startswith("https://bucket.s3.")
    assert client.meta.region_name == "eu-central-1"
    assert checksums(client) == ("when_supported", "when_supported")


def test_what_the_user_says_about_checksums_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    assert checksums(open_client()) == ("when_supported", "when_required")
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")
    profile = tmp_path / "config"
    profile.write_text("[profile mine]\nresponse_checksum_validation = when_supported\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.delenv("AWS_REGION")
    client = open_client()
    assert checksums(client) == ("when_required", "when_supported")
    assert client.meta.region_name == "eu-west-3"


@pytest.mark.parametrize("attempts", [None, 7])
def test_attempts_are_three_or_what_the_user_says(monkeypatch: pytest.MonkeyPatch, attempts: int | None) -> None:
    if attempts is not None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(attempts))
    retries = open_client().meta.config.retries  # type: ignore[attr-defined]
    assert (retries["mode"], retries.get("total_max_attempts", 3)) == ("standard", attempts or 3)


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL", "user:hidden@no address")])
def test_settings_that_make_no_client(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnavailable, match=name) as raised:
        open_client()
    assert "hidden" not in str(raised.value)


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store("s3://bucket", staging=tmp_path)
    with pytest.raises(StoreUnavailable, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        store.size(DIGEST)
    store.close()


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(s3_client, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = open_store("s3://bucket", staging=tmp_path)
        with pytest.raises(StoreUnavailable, match="cannot reach"):
            store.size(DIGEST)
        store.close()
