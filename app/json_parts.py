"""The limit on the number of parts in JSON from clients.

JSON is parsed whole and at once, while nothing else in the process runs. Lists, objects and their names cost far more
time and memory than what they hold, and no request needs more of them than an image has rows.
"""

from http import HTTPStatus

from app.problems import Problem

MOST_JSON_PARTS = 2**16


def check_json_parts(text: bytes, advice: str) -> None:
    """Counts lists, objects and names before anything is parsed.

    Args:
        text: The JSON.
        advice: What to send instead, the end of the message.

    Raises:
        Problem: 400, the JSON has more than MOST_JSON_PARTS.
    """
    if sum(map(text.count, (b"[", b"{", b":"))) > MOST_JSON_PARTS:
        parts = f"{MOST_JSON_PARTS} lists, objects and names"
        raise Problem(HTTPStatus.BAD_REQUEST, f"The JSON has more than {parts}: {advice}")
