"""Errors about image files."""

from model.errors import UserError


class ImageError(UserError):
    """Bytes that are no image, or a broken one. The message is fit for the person who sent them."""


class UnsupportedImage(ImageError):
    """An image, but of a kind that is not accepted."""


def broken(kind: str) -> ImageError:
    """The error for a file of this format that cannot be read to its end."""
    return ImageError(f"The {kind} file is broken or truncated.")
