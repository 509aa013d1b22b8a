"""The service: bytes in, bytes out. Limits, queue, protocol. Never imports the training job."""

__version__ = "0.1.0"
