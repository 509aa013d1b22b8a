"""What goes together, and what things are called."""

import pytest

from training.label_scheme import LabelScheme, name_classes, parse_colour

RED, LIME = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 256}, "256 classes; 1 to 255"),
        ({"classes": 3, "format": "instances"}, "instances is for one class"),
        ({"classes": 3, "colours": (RED, LIME)}, "2 different colours for 3 classes"),
        ({"classes": 2, "colours": (RED, RED)}, "1 different colours for 2 classes"),
        ({"colours": (RED,)}, "one a class, of two or more"),
    ],
)
def test_what_does_not_go_together_is_said(options, said):
    with pytest.raises(ValueError, match=said):
        LabelScheme(**options)


def test_values_have_names():
    assert name_classes(1) == {0: "background", 255: "foreground"}
    assert name_classes(3) == {0: "background", 1: "class 1", 2: "class 2"}
    assert name_classes(2, ["sky", "ground"]) == {0: "sky", 1: "ground"}


def test_as_many_names_as_values_are_expected():
    for classes, names in ((1, ["a"]), (3, ["a", "b"]), (2, ["a", "b", "c"])):
        with pytest.raises(ValueError, match=f"{len(names)} names; one each for 0, "):
            name_classes(classes, names)


def test_colours_are_hexadecimal_or_names():
    assert parse_colour("#ff0000") == parse_colour("red") == parse_colour("#ff000080") == RED
    with pytest.raises(ValueError, match="ff0000"):
        parse_colour("ff0000")
