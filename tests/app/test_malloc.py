import platform
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.malloc import EVERY, Trimmer


def test_memory_is_trimmed_after_a_fixed_number_of_answers(monkeypatch: pytest.MonkeyPatch):
    trimmer = Trimmer()
    trimmed: list[int] = []
    monkeypatch.setattr(trimmer, "_trim", trimmed.append)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3 * EVERY + EVERY // 2):
            pool.submit(trimmer.answered)
    assert trimmed == [0, 0, 0]


def test_without_such_a_call_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    trimmer = Trimmer()
    monkeypatch.setattr(trimmer, "_trim", None)
    for _ in range(EVERY):
        trimmer.answered()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_glibc_takes_the_call():
    trimmer = Trimmer()
    assert trimmer._trim is not None
    for _ in range(EVERY):
        trimmer.answered()
