"""Clients of the service for Python programs, with and without asyncio.

The service does without this package. It needs httpx (the extra `client`), but neither torch nor FastAPI.
"""

from app.client.clients import AsyncClient, Client
from app.client.exchange import Overloaded, ServiceError

__all__ = ["AsyncClient", "Client", "Overloaded", "ServiceError"]
