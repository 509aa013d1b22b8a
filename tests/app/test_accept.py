"""Content negotiation."""

import pytest

from app.accept import best_media_type
from app.problems import Problem

OFFERED = ("image/png", "image/tiff", "application/json")


@pytest.mark.parametrize(
    ("accepted", "best"),
    [
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("IMAGE/TIFF", "image/tiff"),
        ("image/tiff;q=0.5, image/png;q=0.4", "image/tiff"),
        ("image/tiff; q=0.5 , */*; q=0.6", "image/png"),
        ("image/*;q=0.5, image/tiff", "image/tiff"),
        ("image/png;q=0, */*", "image/tiff"),
        ("application/*", "application/json"),
        ("application/json;version=1;q=0.9, text/html", "application/json"),
        ("image/tiff;q=nan, text/html", "image/tiff"),
        (", ,image/tiff,,", "image/tiff"),
    ],
)
def test_the_highest_quality_wins_and_the_first_of_equals(accepted, best):
    assert best_media_type(accepted, OFFERED) == best


@pytest.mark.parametrize("accepted", ["text/html", "image/png;q=0", "*", "image", "*/*;q=0"])
def test_nothing_acceptable_is_a_406_that_lists_what_there_is(accepted):
    with pytest.raises(Problem) as caught:
        best_media_type(accepted, OFFERED)
    assert caught.value.status == 406
    assert "image/png, image/tiff, application/json" in caught.value.detail
    assert best_media_type(accepted, OFFERED, otherwise="image/tiff") == "image/tiff"
