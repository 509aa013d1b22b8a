"""Bodies that come compressed, and answers for clients that want them so."""

import gzip
import zlib
from http import HTTPStatus

from app.problems import Problem

# zlib's `wbits` for each coding: "deflate" is zlib's own format (RFC 9110, 8.4.1.2).
_FORMATS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

# Masks and probabilities shrink little more at higher levels, which take many times longer.
_LEVEL = 1


def inflate(body: bytes, coding: str, limit: int) -> bytes:
    """The body without its Content-Encoding. Raises Problem: 400 broken, 413 more than `limit` bytes, 415 unknown."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _FORMATS:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A body may be compressed with gzip or deflate.")
    inflater = zlib.decompressobj(_FORMATS[coding])
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not {coding}, or broken.") from error
    if len(inflated) > limit:
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Inflated, the body is larger than {limit} bytes.")
    if not inflater.eof or inflater.unused_data:
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not {coding}, or cut off.")
    return inflated


def deflate(data: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """Returns the body and the headers of a response, compressed if `accepted` names exactly one coding.

    tritonclient names one coding if its user asks for compression. Lists of codings are defaults of libraries, and most
    responses are sent faster than they are compressed.
    """
    coding = accepted.strip().lower()
    if coding == "gzip":
        return gzip.compress(data, _LEVEL), {"Content-Encoding": coding}
    if coding == "deflate":
        return zlib.compress(data, _LEVEL), {"Content-Encoding": coding}
    return data, {}
