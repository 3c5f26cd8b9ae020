"""The boto3 client of an S3 store: the standard AWS variables and profiles, made fit for servers other than AWS.

Those get path-style addresses, and no checksums but the required ones: several do not understand the others.
"""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from ..errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
CONNECTIONS = 32


def open_client() -> "S3Client":
    """Asks the server nothing yet. Raises `StoreUnavailable` for AWS settings that make no client."""
    try:
        return _client(botocore.session.Session())
    except (BotoCoreError, ValueError) as error:  # whose text may repeat an address with a password
        raise StoreUnavailable(
            f"the AWS settings make no S3 client ({type(error).__name__}); "
            "check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL"
        ) from error


def shown_endpoint(endpoint: str) -> str:
    """Without a name and password that somebody wrote into it."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _client(settings: botocore.session.Session) -> "S3Client":
    session = boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None, botocore_session=settings)
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard"},  # three attempts; AWS_MAX_ATTEMPTS changes that
        max_pool_connections=CONNECTIONS,
    )
    client = session.client("s3", config=config)
    if _is_amazon(client.meta.endpoint_url):
        return client
    client.close()
    region = session.region_name or "us-east-1"
    return session.client("s3", region_name=region, config=config.merge(_for_others(settings.get_scoped_config())))


def _is_amazon(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _for_others(profile: dict[str, object]) -> Config:
    """What the user says about checksums stands, be it by variable or by profile."""
    config = Config(s3={"addressing_style": "path"})
    if "AWS_REQUEST_CHECKSUM_CALCULATION" not in os.environ and "request_checksum_calculation" not in profile:
        config = config.merge(Config(request_checksum_calculation="when_required"))
    if "AWS_RESPONSE_CHECKSUM_VALIDATION" not in os.environ and "response_checksum_validation" not in profile:
        config = config.merge(Config(response_checksum_validation="when_required"))
    return config
