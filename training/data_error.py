"""The error for data and options that no training can use."""

from model.errors import UserError


class DataError(UserError):
    """Data that cannot be trained on; the message lists everything that is wrong."""
