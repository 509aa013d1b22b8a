"""Settings, from environment variables that begin with SEGMENT_; read and checked once, at the start."""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.errors import UserError

PREFIX = "SEGMENT_"

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s,]+")


class SettingsError(UserError):
    """A setting with a bad value; one line that names the variable, its value and what is expected."""


class Settings(BaseSettings):
    """Every field is the variable SEGMENT_<FIELD>; a variable that is set but empty counts as not set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    weights: Path | None = Field(
        None, description="a weights file, or a folder whose nets are all served; default: the bundled weights"
    )
    watch_s: float = Field(
        5.0, ge=0, allow_inf_nan=False, description="seconds between two looks for new weights; 0: only at the start"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="auto (openvino on a CPU where it is installed, else torch), torch or openvino"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto",
        description="auto (int8 for weights made for it, else bf16 where the chip multiplies in it, else fp32), "
        "fp32, bf16, fp16 or int8",
    )
    tta: Literal[1, 2, 4, 8] = Field(
        1, description="1, 2 (mirrored), 4 (flips) or 8 (and turned): views of each image whose results are averaged"
    )
    host: str = Field(
        "0.0.0.0",  # noqa: S104 - a service is there to be reached
        description="address to listen on; :: for IPv6 and IPv4, unix:/PATH for a Unix socket",
    )
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    max_body_bytes: int = Field(134_217_728, ge=1024, description="largest request body, bytes")
    max_pixels: int = Field(100_000_000, ge=1, description="largest image, pixels")
    max_queue_pixels: int = Field(200_000_000, ge=1, description="pixels that may wait or be computed at once")
    max_wait_s: float = Field(
        4.0, gt=0, allow_inf_nan=False, description="seconds that a small image may have to wait for its turn"
    )
    max_upload_bytes: int = Field(
        536_870_912, ge=1024, description="bytes of the bodies of all requests that are not answered yet, together"
    )
    max_batch: int = Field(8, ge=1, le=1024, description="most tiles computed at once")
    tile: int = Field(
        1600,
        ge=32,
        le=16384,
        description="side of the largest tile, pixels; a multiple of the net's grid, 16 for the bundled one",
    )
    max_nets_bytes: int = Field(
        4_294_967_296, ge=1, description="memory of all loaded nets together, bytes; others are loaded on first use"
    )
    deadline_s: float = Field(
        600.0, gt=0, allow_inf_nan=False, description="seconds after which a request is given up with 504"
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="keys that may segment, separated by commas; none: open"
    )
    public_metrics: bool = Field(True, description="true or false: whether /metrics is open to those without a key")
    labels: Path | None = Field(None, description="folder for the pairs of POST /labels; none: saving is off")
    max_labels: int = Field(100_000, ge=1, description="most pairs of image and label in SEGMENT_LABELS")
    max_labels_bytes: int = Field(10_737_418_240, ge=4096, description="most bytes in SEGMENT_LABELS")
    root_path: str = Field(
        "",
        pattern=r"^((/[A-Za-z0-9._~-]+)+/?)?$",
        description="path prefix under which a reverse proxy publishes the service, such as /segmentation",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins of web pages that may call the service, separated by commas, or *; none: no others",
    )
    keep_alive_s: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="seconds after which an idle connection is closed"
    )
    threads: int = Field(0, ge=0, le=1024, description="threads that compute; 0: one for each core")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")

    @field_validator("tta", mode="before")
    @classmethod
    def _read_number(cls, value: object) -> object:
        # pydantic compares literals as they are, and variables are text
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = _split(value)
        if not all(keys):
            raise ValueError("an empty key")
        return keys

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        origins = _split(value)
        if bad := [origin for origin in origins if not _ORIGIN.fullmatch(origin)]:
            raise ValueError(f"'{bad[0]}' is no origin")
        return origins

    @field_validator("root_path")
    @classmethod
    def _strip_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @property
    def compute_threads(self) -> int:
        """`threads`, or the cores this process may use."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self.threads or cores or 1


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(","))


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        SettingsError: A value is bad, or a variable looks like a misspelt setting.
    """
    _check_names()
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        expected = Settings.model_fields[field].description
        # a key is a secret even when it is a bad one
        given = "" if field == "api_keys" else f"={first['input']}"
        raise SettingsError(f"{PREFIX}{field.upper()}{given}: {first['msg']} ({expected})") from error


def _check_names() -> None:
    """Raises SettingsError for a variable that is close to a setting. Any other may belong to another program."""
    known = [field.upper() for field in Settings.model_fields]
    given = [name.upper().removeprefix(PREFIX) for name in os.environ if name.upper().startswith(PREFIX)]
    for name in given:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        if close and name not in known:
            raise SettingsError(f"{PREFIX}{name}: there is no such setting; did you mean {PREFIX}{close[0]}?")
