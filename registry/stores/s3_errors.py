"""What boto3 and S3 servers raise, translated once into the store's errors. No message repeats a key or a password."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as NotConnected,
)
from urllib3.exceptions import HTTPError

from madx.manifest import Digest

from ..errors import StoreUnavailable, UnknownBlob

READING_FAILURES = (BotoCoreError, HTTPError, OSError)
PERMISSIONS = (
    "GetObject, PutObject, DeleteObject, ListBucket, "
    "ListBucketMultipartUploads, ListMultipartUploadParts and AbortMultipartUpload"
)

NOT_FOUND = ("NoSuchKey", "NotFound", "404")
ADVICE = {
    ("NoSuchBucket", *NOT_FOUND): "does not exist; create it, or correct GLOSSA_BLOB_URL",
    ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"): (
        "does not accept the credentials; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
    ),
    ("AccessDenied", "AllAccessDisabled", "Forbidden", "403"): (
        f"denies access; the credentials need s3: {PERMISSIONS}"
    ),
    ("PermanentRedirect", "AuthorizationHeaderMalformed", "301"): "is in another region; set AWS_REGION to it",
    ("NoSuchUpload",): "lost an upload on the way, aborted by somebody else; try again",
}


@contextmanager
def translated(place: str, digest: Digest | None = None) -> Iterator[None]:
    """`place` names bucket and endpoint in messages. A key that is not found raises `UnknownBlob` for `digest`."""
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if digest is not None and code in NOT_FOUND:
            raise UnknownBlob(f"no blob {digest}") from error
        raise StoreUnavailable(f"{place} {_advice(code)} ({code})") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreUnavailable(
            f"no complete credentials for {place}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except (NotConnected, HTTPClientError, HTTPError) as error:
        raise StoreUnavailable(
            f"cannot reach {place} ({type(error).__name__}); check AWS_ENDPOINT_URL and the network, and try again"
        ) from error
    except (BotoCoreError, Boto3Error) as error:
        raise StoreUnavailable(f"{place} failed with {type(error).__name__}; try again") from error
    except OSError as error:
        raise StoreUnavailable(f"cannot read what goes to {place}: {error.strerror or type(error).__name__}") from error


def error_code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "unknown")


def _advice(code: str) -> str:
    return next((advice for codes, advice in ADVICE.items() if code in codes), "refused the request; try again")
