"""The model card of a net: texts and an example, by which a person sees whether the net suits an image."""

from base64 import b64encode
from typing import Annotated

import cv2
from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field, model_validator

from model.images.headers import read_header
from model.images.png import decode_png

# Longest side of an example in pixels, and bytes of its two pictures together: the description stays small.
MAX_SIDE = 192
MAX_BYTES = 40_960


def _check_line(text: str) -> str:
    """Returns a text that holds no line break and no control character. Raises ValueError."""
    if not text.isprintable():
        raise ValueError("the text has a line break or a control character; one printable line is accepted")
    return text


_Line = Annotated[str, Field(max_length=300), AfterValidator(_check_line)]


class Card(BaseModel):
    """The texts of a model card; an empty text is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: _Line = ""
    """What the foreground is, one sentence."""
    modality: _Line = ""
    """How the images were taken, for example "fluorescence microscopy"."""
    pixel_size_um: float | None = Field(None, gt=0, le=1e9, allow_inf_nan=False)
    """Width of a pixel in micrometres; None if the images differ, or have no size."""
    not_for: _Line = ""
    """What the net does not work for, one sentence."""


def _check_picture(data: bytes) -> bytes:
    """Decodes a small PNG and returns its bytes unchanged. Raises ValueError."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"the picture has {len(data)} bytes; {MAX_BYTES} are accepted")
    header = read_header(data)
    if header.format != "PNG" or max(header.width, header.height) > MAX_SIDE:
        found = f"{header.format} of {header.width} x {header.height} pixels"
        raise ValueError(f"the picture is a {found}; a PNG of at most {MAX_SIDE} x {MAX_SIDE} is accepted")
    try:
        decode_png(data)
    except cv2.error as error:
        raise ValueError("the PNG file is broken or truncated") from error
    return data


Picture = Annotated[Base64Bytes, AfterValidator(_check_picture)]
"""The bytes of a small PNG file; base64 in JSON."""


class Example(BaseModel):
    """A small image and its mask as PNG files, for people to look at: stretched to 8 bits, classes in colours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Picture = Field(repr=False)
    mask: Picture = Field(repr=False)

    @classmethod
    def of(cls, image: bytes, mask: bytes) -> "Example":
        """Checks two PNG files. Raises ValidationError."""
        return cls(image=b64encode(image), mask=b64encode(mask))

    @model_validator(mode="after")
    def _pictures_are_small_and_fit(self) -> "Example":
        sizes = [(header.width, header.height) for header in map(read_header, (self.image, self.mask))]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the image has {sizes[0]} pixels and the mask {sizes[1]}; equal sizes are accepted")
        if (together := len(self.image) + len(self.mask)) > MAX_BYTES:
            raise ValueError(f"image and mask have {together} bytes; {MAX_BYTES} together are accepted")
        return self
