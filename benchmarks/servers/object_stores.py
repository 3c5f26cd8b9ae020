"""S3-compatible servers: what every one of them gives, and the small one that tests and benchmarks start."""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3

REGION = "us-east-1"
START_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectServer:
    """A running server with a bucket. `environment` is what boto3 reads; `process` is None where several make it."""

    bucket: str
    endpoint: str
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/registry"

    def fresh_url(self) -> str:
        """An address below which there is nothing yet."""
        return f"s3://{self.bucket}/{secrets.token_hex(8)}"


def aws_environment(endpoint: str, access_key: str, secret_key: str, folder: Path) -> dict[str, str]:
    """All that boto3 would look up elsewhere, so that nothing of the machine's own settings gets in."""
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": str(folder / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_bucket(environment: Mapping[str, str], bucket: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=bucket)
    client.close()


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ones of loopback."""
    with ExitStack() as listeners:
        opened = [listeners.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in opened]


def wait_until_answering(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Any HTTP answer will do. Raises `RuntimeError` with the server's log if it ends or takes too long."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()
        except OSError:
            time.sleep(0.05)
            continue
        return
    raise RuntimeError(f"no server at {url}:\n{log.read_text('utf-8', 'replace')[-4000:]}")


@contextmanager
def running(command: list[str], log: Path, *, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that ends with the block, and nothing but it."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def ministack(folder: Path, *, bucket: str = "glossa", port: int | None = None) -> Iterator[ObjectServer]:
    """A ministack that keeps everything in `folder`, also for the next one there. It does not check signatures."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    endpoint = f"http://127.0.0.1:{port}"
    settings = {
        "SERVICES": "s3",
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "objects"),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "TMPDIR": str(folder),
        "HOME": str(folder),
    }
    log = folder / "ministack.log"
    command = [sys.executable, "-m", "ministack"]
    with running(command, log, environment={"PATH": os.environ["PATH"], **settings}) as process:
        wait_until_answering(f"{endpoint}/_ministack/health", process, log)
        environment = aws_environment(endpoint, "test", "test", folder)
        make_bucket(environment, bucket)
        yield ObjectServer(bucket=bucket, endpoint=endpoint, environment=environment, process=process)
