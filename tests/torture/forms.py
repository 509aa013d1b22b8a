"""Damaged forms and headers: each is answered as a client's fault, or taken for what it can be read as."""

from collections.abc import Iterator
from random import Random
from typing import TypeVar

from model.images.encoding import encode_png
from tests.support.measuring import HOST
from tests.torture.corpus import GREY
from tests.torture.mutation import mutate
from tests.torture.small_service import small_service
from tests.torture.storm import Attempt, Storm
from tests.torture.verdict import Verdict

LONG, SHORT = 10_000, 200

T = TypeVar("T")

_NAMES = ("file", "file", "image", "", "FILE", "file[]", "other", "f\xefle", "a" * 5000)
_FILE_NAMES = (
    "a.png",
    "",
    "../../etc/passwd",
    "C:\\x\\y.tif",
    'quo"te.png',
    "\xe4\xf6.png",
    "a\0b.png",
    "n" * 9000,
    "%0d%0aX: y",
)
_TYPES = ("image/png", "", "text/plain", "multipart/mixed; boundary=inner", "image/png\r\nX-More: " + "y" * 3000)
_BOUNDARIES = ("line", "-" * 70, "a b", "", "x" * 3000, "\xff\xfe", "'", '"quoted"')
_PATHS = (
    *("/segment",) * 6,
    *("/segment?output=geojson", "/segment?output=instances", "/segment?output=nothing", "/segment?threshold=nan"),
    *("/segment?threshold=1e-320", "/segment?class=99999999999999999999", "/segment?output=mask&output=coco"),
    *("/segment/", "/segment%0A", "//segment", "/segment?" + "q=1&" * 500, "/v2/models/small-net/infer"),
)
_HEADERS = (
    *(
        "Accept: application/json",
        "Accept: " + "*/*," * 1000,
        "Accept: \xff",
        "X-Request-ID: " + "i" * 4000,
        "X-Request-ID: \xc3",
    ),
    *("Content-Encoding: gzip", "Content-Encoding: br", "Expect: 100-continue", "Inference-Header-Content-Length: 5"),
    *(
        "Inference-Header-Content-Length: -1",
        "Cookie: " + "c=d; " * 1000,
        "Host: elsewhere",
        "Forwarded: for=_",
        "X: y",
    ),
    *(
        "Content-Type: text/plain",
        "Content-Type: multipart/form-data",
        "Authorization: Bearer \xff",
        "Range: bytes=0-1",
    ),
    *("Content-Disposition: attachment", "Upgrade: websocket", "Connection: close, x", "Accept-Encoding: gzip"),
)


def attack(count: int) -> Verdict:
    """So many damaged requests."""
    good = encode_png(GREY)
    with small_service() as server:
        mask = server.mask(good)
        storm = Storm(server)
        storm.run(_attempts(count, good))
        return storm.verdict(f"{count} damaged forms and headers", good, mask)


def _attempts(count: int, image: bytes) -> Iterator[Attempt]:
    """Each depends on its number alone."""
    for index in range(count):
        random = Random(index)  # noqa: S311 - the same damage each time is what it is for
        request, whole = _request(image, random)
        yield Attempt(f"{index}.http", request, request, whole)


def _request(image: bytes, random: Random) -> tuple[bytes, bool]:
    """A request, and whether its frame was left as it should be, so that it is owed an answer."""
    boundary = _rarely(_BOUNDARIES, "line", random)
    body = _body(image, boundary, random)
    if random.random() < 0.5:
        body = mutate(body, [image, body], random)
    framing = random.choice(("Content-Length: {0}",) * 8 + ("Transfer-Encoding: chunked",))
    headers = [f"Host: {HOST}", f"Content-Type: multipart/form-data; boundary={boundary}", framing.format(len(body))]
    headers += random.sample(_HEADERS, random.choice((0, 0, 1, 2)))
    random.shuffle(headers)
    head = "\r\n".join([f"POST {random.choice(_PATHS)} HTTP/1.1", *headers, "", ""]).encode("latin-1")
    sent = _chunked(body, random) if "chunked" in framing else body
    if random.random() < 0.7:
        return head + sent, True
    return random.choice((mutate(head, [body], random) + sent, mutate(head + sent, [body], random))), False


def _body(image: bytes, boundary: str, random: Random) -> bytes:
    parts = [_part(image, random) for _ in range(random.choice((0, 1, 1, 1, 1, 2, 12)))]
    line = boundary.strip('"').encode("latin-1")
    body = b"".join(b"--" + line + b"\r\n" + part for part in parts)
    return body + _rarely((b"", b"--" + line, line + b"--", b"\n--" + line + b"--\n"), b"--" + line + b"--\r\n", random)


def _part(image: bytes, random: Random) -> bytes:
    name, file_name = _rarely(_NAMES, "file", random), _rarely(_FILE_NAMES, "a.png", random)
    place = f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"'
    place = _rarely((f"Content-Disposition: {name}", "", place[:-9], place.replace('"', ""), "X: y"), place, random)
    head = f"{place}\r\nContent-Type: {_rarely(_TYPES, 'image/png', random)}\r\n\r\n".encode("latin-1")
    content = _rarely((b"", b"\r\n--line", bytes(3000), b"\xff" * 20), image, random)
    return head + content + _rarely((b"", b"\n"), b"\r\n", random)


def _rarely(others: tuple[T, ...], usual: T, random: Random) -> T:
    return random.choice(others) if random.random() < 0.2 else usual


def _chunked(body: bytes, random: Random) -> bytes:
    size = random.choice((1000, 7000))
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
