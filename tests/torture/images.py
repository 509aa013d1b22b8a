"""Damaged image files: each is answered, fast, and never with what was in memory before.

What is answered with a mask is sent again, with others in between: pixels that no decoder wrote would differ.
"""

from collections.abc import Iterator
from random import Random

from model.images.encoding import encode_png
from tests.support.measuring import HOST
from tests.torture.corpus import GREY, make_corpus
from tests.torture.mutation import mutate, with_right_checksums
from tests.torture.small_service import small_service
from tests.torture.storm import Attempt, Storm
from tests.torture.verdict import Verdict

LONG, SHORT = 50_000, 300


def attack(count: int) -> Verdict:
    """So many damaged images."""
    good = encode_png(GREY)
    with small_service() as server:
        mask = server.mask(good)
        storm = Storm(server, twice=True)
        storm.run(_attempts(count))
        return storm.verdict(f"{count} damaged images of {len(make_corpus())} kinds", good, mask)


def _attempts(count: int) -> Iterator[Attempt]:
    """The undamaged ones first. Each depends on its number alone."""
    corpus = make_corpus()
    names, files = list(corpus), list(corpus.values())
    for index in range(count):
        random = Random(index)  # noqa: S311 - the same damage each time is what it is for
        name = names[index % len(names)]
        data = corpus[name] if index < len(names) else mutate(corpus[name], files, random)
        if name.endswith(".png") and random.random() < 0.7:
            data = with_right_checksums(data)
        yield Attempt(f"{index}-{name}", _request(data), data)


def _request(data: bytes) -> bytes:
    head = f"POST /segment HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: image/x\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data
