"""Content negotiation: the media type that an `Accept` header asks for (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from http import HTTPStatus

from app.problems import Problem

_QUALITY = re.compile(r"q=(0(\.\d*)?|1(\.0*)?)")


def best_media_type(accepted: str, offered: Sequence[str], otherwise: str | None = None) -> str:
    """Returns the offered media type of the highest quality; of several, the first.

    Args:
        accepted: The header; an empty one accepts everything.
        offered: Media types that the call can return, the preferred one first.
        otherwise: What to return if the header excludes all of them.

    Raises:
        Problem: 406, the header excludes all of them, and there is no `otherwise`.
    """
    ranges = _ranges(accepted) or {"*/*": 1.0}
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges):
        return best
    if otherwise is None:
        detail = f"The Accept header excludes everything that this call returns: {', '.join(offered)}."
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, detail)
    return otherwise


def _ranges(accepted: str) -> dict[str, float]:
    """Returns the quality of each media range of the header, 0..1."""
    ranges = dict[str, float]()
    for part in accepted.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        if media_range:
            quality = next(filter(None, map(_QUALITY.fullmatch, parameters)), None)
            ranges[media_range] = float(quality[1]) if quality else 1.0
    return ranges


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """Returns the quality of the most specific range that contains the media type, or 0."""
    kind = media_type.partition("/")[0]
    return next((ranges[each] for each in (media_type, f"{kind}/*", "*/*") if each in ranges), 0.0)
