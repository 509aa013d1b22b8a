"""An upload's bytes to the input of the net: the header is checked against the limits before anything is decoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from app.problems import Problem
from model.images.channels import NoSuchChannel
from model.images.decoding import ImageFile
from model.images.image_errors import ImageError, UnsupportedImage
from model.inputs.net_input import NetInput, read_input
from model.weights_file import Description


def measure(data: bytes, max_pixels: int) -> ImageFile:
    """Reads the header. Raises Problem: 400 broken, 415 not accepted, 422 more than `max_pixels` in all pages."""
    with image_problems():
        file = ImageFile.read(data)
    header = file.header
    if header.pixels > max_pixels:
        size = f"{header.width} x {header.height} pixels"
        if header.pixels != header.width * header.height:  # pages may differ in size
            size = f"{header.pixels} pixels on {header.pages} page(s)"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The image has {size}, more than {max_pixels} in all.")
    return file


def decode(file: ImageFile, description: Description, channel: str = "") -> NetInput:
    """The pages as a net takes them. Raises Problem: 400 broken, 415 not accepted, 422 no such channel."""
    with image_problems():
        return read_input(file, description, channel)


@contextmanager
def image_problems() -> Iterator[None]:
    """Raises Problem in place of the errors of images: 400 broken, 415 not accepted, 422 no such channel."""
    try:
        yield
    except NoSuchChannel as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except UnsupportedImage as error:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)) from error
    except ImageError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
