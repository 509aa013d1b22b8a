"""How the tests talk to a server: `httpx.get` and its like read all certificate authorities anew each time."""

import httpx

# A connection each, as those have.
HTTP = httpx.Client(timeout=120, limits=httpx.Limits(max_keepalive_connections=0))
