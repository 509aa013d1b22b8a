"""Limits of outputs: what a format holds, and what can be made in a short time."""

from model.errors import UserError

# As many as 16 bits tell apart. For tables and ROIs, it bounds the time, which is about a millisecond for each object.
MOST_OBJECTS = 65535

# Channels times pixels. Of an image that stores its channels pixel by pixel, all are decoded to get one.
MOST_INTERLEAVED = 1_000_000_000


class OutputError(UserError):
    """A result that its format cannot hold. The message is fit for the person who asked for it."""
