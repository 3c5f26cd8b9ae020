"""The environment -> Settings. The only place of the server that reads environment variables. Torch-free.

docs/serving.md has the table, which a test holds against this class.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import InvalidSettings

_MIB = 1 << 20


def default_home() -> Path:
    """`glossa` below the user's data folder: $XDG_DATA_HOME, else ~/.local/share."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "glossa"


class Settings(BaseSettings):
    """What a server is started with. Each field is also an environment variable: GLOSSA_ and its name."""

    model_config = SettingsConfigDict(env_prefix="GLOSSA_", frozen=True, extra="forbid", validate_by_name=True)

    home: Path = Field(default_factory=default_home, description="folder of everything embedded: database, blobs")
    database_url: str | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="the registry's database; default: SQLite in the home",
    )
    blob_url: str | None = Field(default=None, description="the blob store; default: a folder in the home")
    backbone: str = Field(description="a folder or hub name; `glossa serve` gives the demo's where it is not set")
    device: str = Field(default="auto", description="cpu, cuda or cuda:N; auto takes cuda where there is one")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        default="auto",
        description="of weights and arithmetic; auto is bfloat16 where the device multiplies it, else float32; "
        "int8 is for CPUs with AVX512-VNNI",
    )
    keys: Literal["auto", "required", "loopback", "off"] = Field(
        default="auto",
        description="required: every request brings a key; loopback: none is asked for, and other hosts' pages are "
        "refused; off: neither; auto: loopback where `glossa serve` is bound to it, else required",
    )
    requests_per_minute: int = Field(default=6_000, ge=0, description="requests with one key; 0: no limit")
    max_body_bytes: int = Field(default=8 * _MIB, gt=0, description="bytes of one request's body, uploads apart")
    max_upload_bytes: int = Field(
        default=1024 * _MIB, gt=0, description="bytes of one upload, of one form, or of one stream of lines"
    )
    upload_idle_s: float = Field(
        default=60.0,
        gt=0,
        description="seconds without a byte after which an upload ends, or a stream whose client takes no answer",
    )
    upload_ttl_s: float = Field(
        default=86_400.0, gt=0, description="seconds that a resumable upload is kept after its last piece"
    )
    uploads_at_once: int = Field(default=16, gt=0, description="uploads that run at once; beyond: 429")
    uploads_per_key: int = Field(default=32, gt=0, description="resumable uploads that one key may have open")
    max_inputs: int = Field(default=256, gt=0, description="texts in one request that is JSON as a whole")
    max_text_characters: int = Field(default=100_000, gt=0, description="Unicode code points of one text")
    queue_tokens: int = Field(default=262_144, gt=0, description="tokens accepted and not answered yet; beyond: 429")
    queue_s: float = Field(default=10.0, gt=0, description="seconds of work accepted and not done yet; beyond: 429")
    batch_tokens: int = Field(
        default=4_096, ge=16, description="tokens of one forward (on a CPU, per core); also the longest row"
    )
    batch_s: float = Field(default=2.0, gt=0, description="seconds that one forward should take at most")
    adapter_bytes: int = Field(default=1024 * _MIB, gt=0, description="bytes of adapters on the device")
    host_bytes: int = Field(
        default=4096 * _MIB, ge=0, description="bytes of adapters in the host's memory behind a CUDA device"
    )
    cache_bytes: int = Field(
        default=16_384 * _MIB, ge=0, description="bytes of weights on disk, in the home, for stores that are no folder"
    )
    pinned: str = Field(
        default="", description="references, with commas between them, of adapters that stay on the device"
    )
    loaders: int = Field(default=2, gt=0, description="threads that decode adapters and bring them to the device")
    fetches: int = Field(
        default=16, gt=0, description="adapters that are fetched at once, those apart that get no bytes"
    )
    load_timeout_s: float = Field(
        default=60.0, gt=0, description="seconds without a byte after which fetching an adapter is given up"
    )
    deadline_s: float = Field(default=30.0, gt=0, description="seconds from a request's arrival to its answer")
    drain_s: float = Field(
        default=30.0, gt=0, description="seconds in which a server that is to end answers what it has accepted"
    )
    stuck_after_s: float = Field(
        default=120.0, gt=0, description="seconds in one forward after which /health/live turns red"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="of the log, on stderr; auto is text on a terminal and JSON lines elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least level that is logged; of libraries never below warning"
    )
    access_log: bool = Field(
        default=False, description="whether every request has a line in the log; those that fail with 5xx always have"
    )


def read_settings(*, default_backbone: str | Path | None = None, **given: Any) -> Settings:
    """Settings from `given`, else the environment, else defaults. Raises `InvalidSettings` naming the variable."""
    if default_backbone is not None and "GLOSSA_BACKBONE" not in os.environ:
        given.setdefault("backbone", str(default_backbone))
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise InvalidSettings(f"{variable(name)}: {first['msg']}") from error


def variable(field: str) -> str:
    """The environment variable of a field."""
    return field if field.isupper() else "DATABASE_URL" if field == "database_url" else f"GLOSSA_{field.upper()}"
