import csv
from dataclasses import replace
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage.draw import ellipse

from model.images.calibration import PixelSize
from model.images.decoding import ImageFile
from model.images.encoding import encode_png
from model.inputs.net_input import NetInput
from model.outputs.limits import OutputError
from model.outputs.objects import Ids, find_regions
from model.outputs.table import Table, measure_objects, to_csv

LABELS = {0: "background", 255: "cell"}
EMPTY = NetInput([])


def measure(mask: NDArray[np.uint8], given: NetInput = EMPTY, labels: dict[int, str] = LABELS) -> Table:
    return measure_objects([(find_regions(mask), mask)], labels, given)


def rectangle(height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    """A mask with one object, whose corner is 4 pixels to the right and 3 down, of 10 x 6 pixels."""
    mask = np.zeros((height, width), np.uint8)
    mask[3:9, 4:14] = 255
    return mask


def stored(pixels: NDArray[Any], **options: Any) -> NetInput:
    file = BytesIO()
    tifffile.imwrite(file, pixels, photometric="minisblack", **options)
    return NetInput([], file=ImageFile.read(file.getvalue()))


def test_a_rectangle_has_the_sizes_and_places_it_was_drawn_with():
    table = measure(rectangle())
    expected = {
        "page": 0,
        "label": 1,
        "class": "cell",
        "area_px": 60,
        "centroid_x_px": 9,
        "centroid_y_px": 6,
        "bbox_x_px": 4,
        "bbox_y_px": 3,
        "bbox_width_px": 10,
        "bbox_height_px": 6,
        "perimeter_px": 28,
        "solidity": 1,
        "euler_number": 1,
        "touches_border": False,
    }
    assert {name: table[name].tolist() for name in expected} == {name: [value] for name, value in expected.items()}
    assert table["equivalent_diameter_px"] == pytest.approx(2 * np.sqrt(60 / np.pi))
    assert table["orientation_deg"] == pytest.approx(0)


@pytest.mark.parametrize("angle", [20, 45, 110, 160])
def test_the_orientation_turns_counterclockwise_from_the_x_axis(angle: int):
    mask = np.zeros((200, 200), np.uint8)
    mask[ellipse(100, 100, 30, 80, mask.shape, rotation=np.radians(angle))] = 255
    table = measure(mask)
    assert table["orientation_deg"] == pytest.approx(angle, abs=1)
    assert table["major_axis_px"] == pytest.approx(160, rel=0.02)
    assert table["minor_axis_px"] == pytest.approx(60, rel=0.02)
    assert table["eccentricity"] == pytest.approx(np.sqrt(1 - (3 / 8) ** 2), abs=0.01)


def test_a_hole_changes_the_euler_number_and_the_solidity():
    mask = rectangle()
    mask[5:7, 6:9] = 0
    table = measure(mask)
    assert table["euler_number"].tolist() == [0]
    assert table["solidity"].tolist() == [54 / 60]


def test_objects_at_each_edge_touch_the_border():
    mask = np.zeros((9, 9), np.uint8)
    mask[0, 4] = mask[4, 0] = mask[8, 4] = mask[4, 8] = mask[4, 4] = 255
    assert measure(mask)["touches_border"].tolist() == [True, True, False, True, True]


def test_classes_have_their_names():
    mask = np.zeros((5, 9), np.uint8)
    mask[1:3, 1:3], mask[1:3, 5:8] = 1, 2
    table = measure(mask, labels={0: "background", 1: "live", 2: "dead"})
    assert table["class"].tolist() == ["live", "dead"]
    assert table["area_px"].tolist() == [4, 6]


def test_square_pixels_give_micrometres_in_columns_of_their_own():
    table = measure(rectangle(), NetInput([], pixel_size=PixelSize(0.5, 0.5)))
    assert table["area_um2"].tolist() == [15]
    assert table["bbox_width_um"].tolist() == [5]
    for name in ("centroid_x", "centroid_y", "perimeter", "major_axis", "minor_axis", "equivalent_diameter"):
        assert table[f"{name}_um"] == pytest.approx(0.5 * table[f"{name}_px"])
    assert not [name for name in measure(rectangle()) if name.endswith(("_um", "_um2"))]


def test_axes_are_measured_with_the_shape_of_the_pixel():
    mask = np.zeros((200, 100), np.uint8)
    mask[ellipse(100, 50, 80, 20, mask.shape)] = 255  # a circle of radius 40 um if pixels are 2 x 0.5 um
    table = measure(mask, NetInput([], pixel_size=PixelSize(2, 0.5)))
    assert table["major_axis_um"] == pytest.approx(80, rel=0.02)
    assert table["minor_axis_um"] == pytest.approx(80, rel=0.02)
    assert table["equivalent_diameter_um"] == pytest.approx(80, rel=0.02)
    assert table["centroid_y_um"] == pytest.approx(0.5 * table["centroid_y_px"])
    assert np.isnan(table["perimeter_um"]).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32, np.float64, np.uint32])
def test_intensities_are_the_values_that_the_file_stores(kind: type):
    mask = rectangle()
    pixels = np.arange(600).reshape(20, 30) % 200
    table = measure(mask, stored(pixels.astype(kind)))
    inside = pixels[mask > 0]
    assert table["mean_intensity"] == pytest.approx(inside.mean())
    assert table["std_intensity"] == pytest.approx(inside.std())
    assert (table["min_intensity"], table["max_intensity"]) == (inside.min(), inside.max())


def test_every_channel_is_measured():
    mask = rectangle()
    pixels = np.stack([np.full((20, 30), 7), np.full((20, 30), 9)]).astype(np.uint16)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    table = measure(mask, stored(pixels, ome=True, metadata=metadata))
    assert table["mean_intensity_DAPI"].tolist() == [7]
    assert table["mean_intensity_GFP"].tolist() == [9]
    assert "mean_intensity" not in table


def test_interleaved_channels_are_measured_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    mask = rectangle()
    given = stored(np.arange(20 * 30 * 5).reshape(20, 30, 5).astype(np.uint16), planarconfig="contig")
    table = measure(mask, given)
    assert [table[f"min_intensity_{channel}"].item() for channel in range(5)] == [470, 471, 472, 473, 474]
    monkeypatch.setattr("model.outputs.table.MOST_INTERLEAVED", 3000)
    assert measure(mask, given).keys() == table.keys()
    monkeypatch.setattr("model.outputs.table.MOST_INTERLEAVED", 2999)
    with pytest.raises(OutputError, match="5 channels"):
        measure(mask, given)


def test_colours_are_measured_one_by_one():
    mask = rectangle()
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = 10, 30
    table = measure(mask, NetInput([], file=ImageFile.read(encode_png(pixels))))
    assert [table[f"mean_intensity_{name}"].tolist() for name in ("red", "green", "blue")] == [[10], [0], [30]]


def test_grey_pages_beside_colours_have_their_grey_in_each_colour():
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.full((20, 30), 7, np.uint8), photometric="minisblack")
        writer.write(np.full((20, 30, 3), (1, 2, 3), np.uint8), photometric="rgb")
    page: tuple[Ids, NDArray[np.uint8]] = (find_regions(rectangle()), rectangle())
    table = measure_objects([page, page], LABELS, NetInput([], file=ImageFile.read(file.getvalue())))
    assert [table[f"mean_intensity_{name}"].tolist() for name in ("red", "green", "blue")] == [[7, 1], [7, 2], [7, 3]]


def test_values_that_are_not_finite_do_not_count():
    mask = rectangle()
    mask[12, 12] = 255
    pixels = np.ones((20, 30), np.float32)
    pixels[3, 4], pixels[4, 4], pixels[12, 12] = np.nan, np.inf, np.nan
    table = measure(mask, stored(pixels))
    assert table["mean_intensity"][0] == table["max_intensity"][0] == 1
    assert np.isnan(table["mean_intensity"][1])
    assert np.isnan(table["max_intensity"][1])


def test_pages_of_a_stack_follow_each_other():
    first, second = rectangle(), rectangle(40, 50)
    pages: list[tuple[Ids, NDArray[np.uint8]]] = [(find_regions(mask), mask) for mask in (first, second)]
    table = measure_objects(pages, LABELS, EMPTY)
    assert table["page"].tolist() == [0, 1]
    assert table["label"].tolist() == [1, 1]


def test_an_image_without_objects_gives_a_table_without_rows():
    empty = np.zeros((20, 30), np.uint8)
    given = replace(stored(empty), pixel_size=PixelSize(1, 2))
    table = measure(empty, given)
    assert {len(column) for column in table.values()} == {0}
    assert list(table) == list(measure(rectangle(), given))


def test_a_csv_file_has_the_numbers_of_the_table():
    table = measure(rectangle(), NetInput([], pixel_size=PixelSize(0.3, 0.3)), {0: "background", 255: 'a "b", c'})
    [row] = csv.DictReader(StringIO(to_csv(table).decode()))
    assert list(row) == list(table)
    assert row["class"] == 'a "b", c'
    assert row["touches_border"] == "false"
    assert row["area_px"] == "60"
    for name, column in table.items():
        if column.dtype.kind == "f":
            assert float(row[name]) == pytest.approx(column[0], rel=1e-6)


def test_colours_of_several_channels_are_measured_one_by_one():
    """ImageJ so stores a stack of RGB pages with channels."""
    pixels = np.zeros((2, 20, 30, 3), np.uint8)
    pixels[0], pixels[1] = (1, 2, 3), (4, 5, 6)
    file = BytesIO()
    tifffile.imwrite(file, pixels, imagej=True, metadata={"axes": "CYXS"})
    table = measure(rectangle(), NetInput([], file=ImageFile.read(file.getvalue())))
    found = [
        table[f"mean_intensity_{channel}_{name}"].item() for channel in (0, 1) for name in ("red", "green", "blue")
    ]
    assert found == [1, 2, 3, 4, 5, 6]


def test_channels_with_equal_beginnings_keep_their_columns():
    pixels = np.stack([np.full((20, 30), 7), np.full((20, 30), 9)]).astype(np.uint16)
    names = ["the detector of the fluorescence channel 405", "the detector of the fluorescence channel 488"]
    table = measure(rectangle(), stored(pixels, ome=True, metadata={"axes": "CYX", "Channel": {"Name": names}}))
    assert (table["mean_intensity_0"].item(), table["mean_intensity_1"].item()) == (7, 9)
