"""Wire types: the bodies that requests bring, in the shapes of the Hugging Face tasks. Torch-free.

Whatever is not declared here is refused with its field; `options`, which some clients send, is accepted and ignored.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from .errors import BodyTooLarge, InvalidRequest

MAX_TOP_K = 100
MAX_LANGUAGE_CHARACTERS = 64  # of the registry's column; reading and comparing a tag of megabytes would take seconds

_INPUTS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Inputs = Annotated[Any, WithJsonSchema(_INPUTS_SCHEMA)]


def _languages(value: object) -> object:
    """By hand, because an error in a union names its branches, which are no fields of the request."""
    listed = isinstance(value, list) and bool(value) and all(isinstance(code, str) for code in value)
    if value is None or isinstance(value, str) or listed:
        return value
    raise PydanticCustomError("language", "must be a language, or a list with one language for each text")


_LANGUAGES_SCHEMA = {"anyOf": [*_INPUTS_SCHEMA["anyOf"], {"type": "null"}]}
Languages = Annotated[str | list[str] | None, PlainValidator(_languages), WithJsonSchema(_LANGUAGES_SCHEMA)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StackParameters(Strict):
    """Which versions run. Leaving a field out and giving null differ for the two adapters: null is "none"."""

    language: Languages = Field(default=None, description="BCP 47 or ISO 639-3; a list has one for each text")
    adapter: str | None = Field(default=None, description="task adapter: name, name@3 or name@alias")
    language_adapter: str | None = Field(default=None, description="language adapter, or null for none")
    leave_out: list[int] | None = Field(default=None, description="layers without the language adapter, from 0")


class NerParameters(StackParameters):
    aggregation_strategy: Literal["none", "simple"] | None = Field(default=None, description="simple by default")
    ignore_labels: list[str] | None = Field(default=None, description='["O"] by default')
    stride: int | None = Field(default=None, ge=0, description="tokens that two windows of a long text share")


class FillMaskParameters(StackParameters):
    top_k: int | None = Field(default=None, ge=1, le=MAX_TOP_K, description="5 by default")
    targets: list[str] | None = Field(default=None, min_length=1, max_length=MAX_TOP_K)


class NerRequest(Strict):
    inputs: Inputs
    parameters: NerParameters | None = None
    options: dict[str, Any] | None = Field(default=None, description="ignored")


class FillMaskRequest(Strict):
    inputs: Inputs
    parameters: FillMaskParameters | None = None
    options: dict[str, Any] | None = Field(default=None, description="ignored")


_Request = TypeVar("_Request", bound=BaseModel)
_Parameters = TypeVar("_Parameters", NerParameters, FillMaskParameters)


def read_request(content: bytes, shape: type[_Request]) -> _Request:
    """A body -> a request. Raises `InvalidRequest` naming the first wrong field."""
    try:
        return shape.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        if first["type"] == "extra_forbidden":
            raise InvalidRequest(f"{field} is not known here; leave it out", field=field) from error
        raise InvalidRequest(f"{field}: {first['msg']}", field=field) from error


def with_query(parameters: _Parameters, language: str | None) -> _Parameters:
    """The language of the address, where the body names none."""
    if language is None or parameters.language is not None:
        return parameters
    return parameters.model_copy(update={"language": language})


def language_of_each(parameters: StackParameters, texts: Sequence[str]) -> list[str | None]:
    """One language, or none, for each text. Raises `InvalidRequest` for a long tag, or a list of another length."""
    named = parameters.language if isinstance(parameters.language, list) else [parameters.language or ""]
    if any(len(code) > MAX_LANGUAGE_CHARACTERS for code in named):
        raise InvalidRequest(
            f"a language tag has at most {MAX_LANGUAGE_CHARACTERS} characters", field="parameters.language"
        )
    if not isinstance(parameters.language, list):
        return [parameters.language] * len(texts)
    if len(parameters.language) != len(texts):
        raise InvalidRequest(
            f"parameters.language lists {len(parameters.language)} languages for {len(texts)} texts; give one for each",
            field="parameters.language",
        )
    return [*parameters.language]


def read_texts(inputs: object, *, max_inputs: int, max_characters: int) -> list[str]:
    """`inputs` -> its texts, one or many. Raises `InvalidRequest` or `BodyTooLarge` with the field."""
    if isinstance(inputs, str):
        texts, fields = [inputs], ["inputs"]
    elif isinstance(inputs, list) and inputs:
        texts, fields = inputs, [f"inputs.{index}" for index in range(len(inputs))]
    else:
        raise InvalidRequest("inputs must be a text or a list of at least one text", field="inputs")
    if len(texts) > max_inputs:
        raise BodyTooLarge(f"{len(texts)} texts in one request; at most {max_inputs} are accepted", field="inputs")
    for text, field in zip(texts, fields, strict=True):
        if not isinstance(text, str):
            raise InvalidRequest(f"{field} must be a text", field=field)
        if not text.strip():
            raise InvalidRequest(f"{field} is empty", field=field)
        if len(text) > max_characters:
            raise BodyTooLarge(
                f"{field} has {len(text)} characters; at most {max_characters} are accepted", field=field
            )
    return texts
