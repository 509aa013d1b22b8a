"""Clients of the service for Python programs, with and without asyncio.

The service does without this package, and this package does without the rest of the project: `pip install ./app/client`
installs it separately, as `unet_segmentation_client`. It needs httpx and numpy.
"""

from .clients import AsyncClient, Client
from .exchange import ImageNotice, Overloaded, ServiceError

__all__ = ["AsyncClient", "Client", "ImageNotice", "Overloaded", "ServiceError"]
