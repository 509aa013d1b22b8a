"""The sockets that the server listens on: an address of IPv4 or IPv6, both, or a Unix socket."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import TypeAlias

from app.settings import PREFIX, Settings, SettingsError

UNIX = "unix:"

# Connections that wait to be accepted, as uvicorn has it.
BACKLOG = 2048

_Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As `socket.bind` takes it, of IPv4 or IPv6."""


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Listens on SEGMENT_HOST and SEGMENT_PORT.

    `::` listens on all addresses of IPv6 and IPv4. A name listens on all its addresses.

    Raises:
        SettingsError: The host has no address.
        OSError: The address is in use, or not of this machine.
    """
    if settings.host.startswith(UNIX):
        return [_open_unix(Path(settings.host.removeprefix(UNIX)))]
    sockets = list[socket.socket]()
    try:
        for family, address in _addresses(settings):
            try:
                sockets.append(_open(family, address, both=settings.host == "::"))
            except OSError as error:
                # a name like localhost may have an address of IPv6 on a machine without IPv6
                if error.errno != errno.EADDRNOTAVAIL or not sockets:
                    raise
    except OSError:
        close_sockets(settings, sockets)
        raise
    return sockets


def close_sockets(settings: Settings, sockets: list[socket.socket]) -> None:
    """Stops listening and removes the file of a Unix socket."""
    for each in sockets:
        each.close()
    if sockets and settings.host.startswith(UNIX):
        Path(settings.host.removeprefix(UNIX)).unlink(missing_ok=True)


def _addresses(settings: Settings) -> list[tuple[socket.AddressFamily, _Address]]:
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        expected = Settings.model_fields["host"].description
        raise SettingsError(f"{PREFIX}HOST={settings.host}: {error} ({expected})") from error
    # IPv4 first, which every machine has
    return sorted({(family, address) for family, *_, address in found}, key=lambda each: each[0])  # type: ignore[misc]


def _open(family: socket.AddressFamily, address: _Address, *, both: bool) -> socket.socket:
    # asyncio switches Nagle's algorithm off only for sockets that name their protocol
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _open_unix(path: Path) -> socket.socket:
    """Listens on a socket file, which replaces one that no process listens on."""
    if not hasattr(socket, "AF_UNIX"):
        raise SettingsError(f"{PREFIX}HOST={UNIX}{path}: this system has no Unix sockets")
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_abandoned(path):
            path.unlink()
        opened.bind(str(path))
        path.chmod(0o666)  # the folder's permissions decide who may connect
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _is_abandoned(path: Path) -> bool:
    """Returns True for a socket file that refuses connections, as a killed process leaves it."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
    except ConnectionRefusedError:
        return True
    except FileNotFoundError:
        return False
    return False
