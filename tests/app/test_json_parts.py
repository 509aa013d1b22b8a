import pytest

from app.json_parts import MOST_JSON_PARTS, check_json_parts
from app.problems import Problem


def test_one_huge_string_is_one_part():
    check_json_parts(b'["%b"]' % bytes(1_000_000), "unused")


@pytest.mark.parametrize("part", [b"[],", b"{},", b'"a":1,'])
def test_too_many_parts_are_refused_with_advice(part: bytes):
    check_json_parts(part * MOST_JSON_PARTS, "unused")
    with pytest.raises(Problem, match=f"more than {MOST_JSON_PARTS} .*: send less.") as caught:
        check_json_parts(part * (MOST_JSON_PARTS + 1), "send less.")
    assert caught.value.status == 400
