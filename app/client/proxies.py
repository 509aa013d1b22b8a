"""Hints for requests that went through a proxy of the environment: HTTP_PROXY, HTTPS_PROXY, NO_PROXY."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx


def proxy_hint(url: str) -> str:
    """Returns a sentence about the proxy that a request to this address goes through; "" if there is none."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    host = parts.hostname or ""
    if not proxy or proxy_bypass(host):
        return ""
    variable = f"{parts.scheme.upper()}_PROXY" if parts.scheme in proxies else "ALL_PROXY"
    shown = urlsplit(proxy)
    where = f"{shown.hostname}:{shown.port}" if shown.port else str(shown.hostname)
    return f"The request went through the proxy {where} of {variable}; NO_PROXY={host} makes it go directly."


def with_hint(error: httpx.TransportError) -> httpx.TransportError:
    """Returns the error with a sentence about the proxy, if the request went through one."""
    try:
        request = error.request
    except RuntimeError:  # raised before there was a request
        return error
    hint = proxy_hint(str(request.url))
    return type(error)(f"{error}. {hint}", request=request) if hint else error
