import pytest

from model.images.calibration import PixelSize, pixel_size


@pytest.mark.parametrize("unit", ["µm", "μm", "um", "Micron", " micrometer "])
def test_spellings_of_micrometres_are_known(unit):
    assert pixel_size(0.5, 0.25, 2, unit) == PixelSize(0.5, 0.25, 2)


@pytest.mark.parametrize(("unit", "factor"), [("nm", 1e-3), ("mm", 1e3), ("cm", 1e4), ("inch", 25400), ("Å", 1e-4)])
def test_other_units_are_converted(unit, factor):
    assert pixel_size(2, 3, 0, unit) == PixelSize(2 * factor, 3 * factor, 0)


@pytest.mark.parametrize(
    ("x", "y", "unit"),
    [(1, 1, "pixel"), (1, 1, ""), (0, 1, "um"), (1, -1, "um"), (float("nan"), 1, "um"), (1e-11, 1, "um")],
)
def test_what_is_no_size_is_none(x, y, unit):
    assert pixel_size(x, y, 1, unit) is None
