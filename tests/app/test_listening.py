"""The sockets that the server listens on, opened for real."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.listening import close_sockets, open_sockets
from app.settings import Settings, SettingsError
from tests.support.servers import free_port

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")


@contextmanager
def _listening(host: str) -> Iterator[int]:
    """The port that is listened on."""
    settings = Settings(host=host, port=free_port())
    sockets = open_sockets(settings)
    try:
        yield settings.port
    finally:
        close_sockets(settings, sockets)


def _can_connect(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=10).close()
    except OSError:
        return False
    return True


def test_an_ipv4_address_is_listened_on():
    with _listening("127.0.0.1") as port:
        assert _can_connect("127.0.0.1", port)
        with pytest.raises(OSError, match="in use"):
            open_sockets(Settings(host="127.0.0.1", port=port))
    assert not _can_connect("127.0.0.1", port)


@needs_ipv6
def test_two_colons_listen_on_both_families():
    with _listening("::") as port:
        assert _can_connect("::1", port)
        assert _can_connect("127.0.0.1", port)


@needs_ipv6
def test_an_ipv6_address_listens_on_that_alone():
    with _listening("::1") as port:
        assert _can_connect("::1", port)
        assert not _can_connect("127.0.0.1", port)


def test_a_name_listens_on_all_its_addresses():
    with _listening("localhost") as port:
        addresses = {str(address) for *_, (address, *_) in socket.getaddrinfo("localhost", port)}
        assert "127.0.0.1" in addresses
        assert all(_can_connect(address, port) for address in addresses)


def test_answers_are_sent_without_delay():
    """asyncio sets TCP_NODELAY only on sockets that name their protocol."""
    settings = Settings(host="127.0.0.1", port=free_port())
    sockets = open_sockets(settings)
    assert [each.proto for each in sockets] == [socket.IPPROTO_TCP]
    close_sockets(settings, sockets)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 100, "1.2.3.4.5"])
def test_a_host_without_an_address_is_a_bad_setting(host: str):
    with pytest.raises(SettingsError, match=f"^SEGMENT_HOST={host}: "):
        open_sockets(Settings(host=host))


def test_an_address_of_another_machine_cannot_be_listened_on():
    with pytest.raises(OSError, match="assign"):
        open_sockets(Settings(host="192.0.2.1"))


def test_a_unix_socket_replaces_an_abandoned_one_only(tmp_path: Path):
    path = tmp_path / "segment.sock"
    settings = Settings(host=f"unix:{path}")
    first = open_sockets(settings)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    with pytest.raises(OSError, match="in use"):
        open_sockets(settings)
    first[0].close()  # as a kill does: the file remains
    second = open_sockets(settings)
    close_sockets(settings, second)
    assert not path.exists()


def test_a_file_is_never_replaced_by_a_unix_socket(tmp_path: Path):
    (tmp_path / "notes").write_text("kept")
    with pytest.raises(OSError, match="in use"):
        open_sockets(Settings(host=f"unix:{tmp_path / 'notes'}"))
    assert (tmp_path / "notes").read_text() == "kept"
