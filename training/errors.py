"""The error for data that no training can use."""


class DataError(ValueError):
    """Data that cannot be trained on; the message lists everything that is wrong."""
