"""Tests the options for a model card: the texts that stay, and the option that an error names."""

import pytest

from model.inputs.card import Card
from training.data.card_options import CardOptions, to_card
from training.data_error import DataError


def options(**given) -> CardOptions:
    return CardOptions(**({"segments": "", "modality": "", "pixel_size": None, "not_for": ""} | given))


def test_nothing_known_makes_no_card():
    assert to_card(options(), None, None) is None


def test_options_replace_what_the_former_card_says():
    former = Card(segments="Cells.", modality="light", pixel_size_um=2, not_for="Tissue.")
    card = to_card(options(segments="Nuclei.", pixel_size=0.5), None, former)
    assert card == Card(segments="Nuclei.", modality="light", pixel_size_um=0.5, not_for="Tissue.")


def test_size_of_the_files_is_used_unless_an_option_says_otherwise():
    assert to_card(options(), 0.25, None) == Card(pixel_size_um=0.25)
    assert to_card(options(pixel_size=0.5), 0.25, None) == Card(pixel_size_um=0.5)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"not_for": "a\nb"}, "--not-for"),
        ({"pixel_size": 0.0}, "--pixel-size 0.0"),
        ({"segments": "x" * 301}, "--segments"),
    ],
)
def test_error_names_the_option(given, named):
    with pytest.raises(DataError, match=named):
        to_card(options(**given), None, None)
