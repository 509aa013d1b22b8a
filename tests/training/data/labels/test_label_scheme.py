"""What goes together, and what things are called."""

import json

import pytest

from training.data.labels.label_scheme import LabelScheme, name_classes, parse_colour

RED, LIME = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 256}, "256 classes; 1 to 255"),
        ({"classes": 3, "format": "instances"}, "instances is for one class"),
        ({"classes": 3, "colours": (RED, LIME)}, "2 different colours for 3 classes"),
        ({"classes": 2, "colours": (RED, RED)}, "1 different colours for 2 classes"),
        ({"values": (0, 7, 7), "classes": 3}, "2 different values for 3 classes"),
        ({"values": (0, 7), "colours": (RED, LIME)}, "give --colours or --values, not both"),
        ({"values": (0, 7), "ignore": (7,)}, "--ignore 7 names a value that --values makes a class"),
        ({"colours": (RED, LIME), "ignore": (7,)}, "--ignore names label values"),
        ({"format": "instances", "threshold": 127.5}, "--threshold-labels is for masks"),
        ({"colours": (RED,)}, "1 different colours for 2 classes; one for each class"),
    ],
)
def test_conflicting_label_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LabelScheme(**options)


def test_a_scheme_survives_json():
    for scheme in (
        LabelScheme(),
        LabelScheme("classes", 2, colours=(RED, LIME), names=("a", "b")),
        LabelScheme("mask", values=(1, 2), ignore=(255,)),
        LabelScheme("inverted", threshold=127.5),
    ):
        assert LabelScheme.from_json(json.loads(json.dumps(scheme.to_json()))) == scheme


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
