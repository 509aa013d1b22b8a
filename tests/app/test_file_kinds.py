"""Files as microscopes and other programs write them, through the whole service."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from starlette.testclient import TestClient

from app.pipeline import _channel_names, _ranges
from model.images.calibration import PixelSize
from model.images.decoding import ImageFile, decode_image, decode_pages
from tests.support.image_files import EXACT, GREY, GREY16, RGB, WITHOUT_RANGE, metamorph, pillow, tiff

TWO = tiff(np.stack([GREY, GREY // 2]), ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "µ-GFP"]}})


def mask(client: TestClient, data: bytes, query: str = "") -> np.ndarray:
    response = client.post(f"/segment{query}", files={"file": data})
    assert response.status_code == 200, response.text
    return decode_image(response.content)


@pytest.mark.parametrize("name", [name for name in EXACT if name.startswith("tiff") and "grey 16" in name])
def test_16_bits_in_any_layout_have_one_mask(client: TestClient, name: str):
    assert np.array_equal(mask(client, EXACT[name][0]), mask(client, tiff(GREY16)))


@pytest.mark.parametrize("name", [name for name in EXACT if name.startswith("tiff") and EXACT[name][1] is RGB])
def test_colours_in_any_layout_have_one_mask(client: TestClient, name: str):
    assert np.array_equal(mask(client, EXACT[name][0]), mask(client, pillow(RGB, "PNG")))


@pytest.mark.parametrize("name", WITHOUT_RANGE)
@pytest.mark.parametrize("output", ["mask", "probability", "overlay", "instances", "geojson", "coco"])
def test_pixels_without_a_range_have_every_output(client: TestClient, name: str, output: str):
    response = client.post(f"/segment?output={output}", files={"file": WITHOUT_RANGE[name][0]})
    assert response.status_code == 200, response.text


def test_the_overlay_of_float_pixels_shows_the_picture(client: TestClient):
    plain, floats = (mask(client, tiff(each), "?output=overlay") for each in (GREY, GREY.astype(np.float32) / 7))
    assert np.abs(plain.astype(int) - floats).max() <= 1


def test_a_file_of_several_channels_is_answered_with_a_notice(client: TestClient):
    response = client.post("/segment", files={"file": TWO})
    assert response.status_code == 200
    assert response.headers["x-notice"] == (
        "The image has 2 channels: 0 (DAPI), 1 (?-GFP). Channel 0 was used; choose another by its number or name."
    )
    assert np.array_equal(decode_image(response.content), mask(client, pillow(GREY, "PNG")))


@pytest.mark.parametrize("query", ["", "?channel=1"])
def test_the_channels_to_choose_from_are_in_a_header(client: TestClient, query: str):
    response = client.post(f"/segment{query}", files={"file": TWO})
    assert response.headers["x-channels"] == "DAPI,%C2%B5-GFP"


def test_an_image_of_one_channel_offers_no_choice(client: TestClient):
    for data in (tiff(GREY), pillow(RGB, "PNG")):
        assert "x-channels" not in client.post("/segment", files={"file": data}).headers


def test_long_names_of_channels_become_numbers():
    assert _channel_names(["\u00b5" * 200, "a" * 1000]) == "0,1"


def test_the_size_of_a_pixel_is_in_a_header(client: TestClient):
    data = tiff(GREY, imagej=True, resolution=(2, 3), metadata={"unit": "um"})
    assert client.post("/segment", files={"file": data}).headers["x-pixel-size"] == "0.5,0.3333333333333333"
    assert "x-pixel-size" not in client.post("/segment", files={"file": pillow(GREY, "PNG")}).headers


@pytest.mark.parametrize("query", ["?channel=1", "?channel=%C2%B5-gfp"])
def test_a_channel_is_chosen_by_number_or_name(client: TestClient, query: str):
    response = client.post(f"/segment{query}", files={"file": TWO})
    assert "x-notice" not in response.headers
    assert np.array_equal(decode_image(response.content), mask(client, pillow(GREY // 2, "PNG")))


def test_a_channel_may_be_a_field_of_the_form(client: TestClient):
    response = client.post("/segment", files={"file": TWO}, data={"channel": "1"})
    assert np.array_equal(decode_image(response.content), mask(client, TWO, "?channel=1"))


def test_a_colour_is_a_channel(client: TestClient):
    assert np.array_equal(mask(client, pillow(RGB, "PNG"), "?channel=green"), mask(client, tiff(255 - GREY)))


@pytest.mark.parametrize(
    ("data", "channel", "detail"),
    [
        (TWO, "2", "The image has no channel '2'. Its channels are 0 (DAPI), 1 (µ-GFP)."),
        (tiff(GREY), "1", "The image has no channel '1'. It has one channel, 0."),
        (pillow(RGB, "PNG"), "alpha", "Its channels are 0 (red), 1 (green), 2 (blue)."),
    ],
)
def test_a_channel_that_does_not_exist_is_422(
    client: TestClient, check_problem: Callable[..., Any], data: bytes, channel: str, detail: str
):
    response = client.post("/segment", params={"channel": channel}, files={"file": data})
    assert detail in check_problem(response, 422)["detail"]


def test_pages_of_a_channel_say_where_in_the_file_they_are(client: TestClient):
    stack = np.stack([GREY, GREY // 2, GREY // 3, GREY // 4, GREY // 5, GREY // 6]).reshape(3, 2, *GREY.shape)
    data = tiff(stack, imagej=True, metadata={"axes": "ZCYX"})
    response = client.post("/segment?channel=1", files={"file": data})
    assert response.headers["x-pages"] == "1-5/2"
    assert response.headers["x-channel-pages"] == "0=0-4/2;1=1-5/2"
    expected = [mask(client, pillow(np.ascontiguousarray(page), "PNG")) for page in stack[:, 1]]
    assert np.array_equal(decode_pages(response.content), expected)


@pytest.mark.parametrize(
    ("order", "places"), [("TZYX", "z3:0-5/1"), ("ZTYX", "t2:0-5/1"), ("ZYX", "z6:0-5/1"), ("TYX", "z1:0-5/1")]
)
def test_sections_and_times_of_pages_are_in_a_header(client: TestClient, order: str, places: str):
    shape = {"TZYX": (2, 3), "ZTYX": (3, 2)}.get(order, (6,))
    stack = np.stack([GREY] * 6).reshape(*shape, *GREY.shape)
    data = tiff(
        stack, ome=True, metadata={"axes": order, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    )
    headers = client.post("/segment", files={"file": data}).headers
    assert (headers["x-places"], headers["x-spacing"]) == (places, "2.0")
    single = client.post("/segment", files={"file": tiff(GREY)}).headers
    assert "x-places" not in single
    assert "x-spacing" not in single


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([1], "1"),
        ([0, 2], "0,2"),
        ([0, 2, 4, 6], "0-6/2"),
        ([None, None, 3], "-,-,3"),
        ([5, 4, 3], "5,4,3"),
        ([0, 1, 2, 7, 9, 11, None], "0-2/1,7-11/2,-"),
    ],
)
def test_ranges_of_pages_are_short(numbers: list[int | None], text: str):
    assert ",".join(_ranges(numbers)) == text


def test_geojson_has_the_plane_of_each_object(client: TestClient):
    bright = np.zeros((64, 64), np.uint8)
    bright[20:40, 20:40] = 200
    stack = np.broadcast_to(bright, (2, 3, 2, 64, 64))
    data = tiff(np.ascontiguousarray(stack), ome=True, metadata={"axes": "TZCYX"})
    features = client.post("/segment?output=geojson&channel=1&threshold=0.01", files={"file": data}).json()["features"]
    assert features
    planes = {(feature["properties"]["page"], *feature["geometry"]["plane"].values()) for feature in features}
    assert planes <= {(3 * t + z, 1, z, t) for t in range(2) for z in range(3)}
    assert len({page for page, *_ in planes}) > 1


CALIBRATED = tiff(
    np.stack([GREY, GREY // 2, GREY // 3]),
    imagej=True,
    resolution=(4, 2),
    metadata={"axes": "ZYX", "unit": "um", "spacing": 1.5},
)


@pytest.mark.parametrize("output", ["mask", "probability", "instances"])
def test_the_size_of_a_pixel_reaches_the_tiff(client: TestClient, output: str):
    response = client.post(f"/segment?output={output}", files={"file": CALIBRATED})
    stack = ImageFile.read(response.content).header.stack
    assert stack
    assert stack.pixel_size == PixelSize(0.25, 0.5, 1.5)
    with tifffile.TiffFile(BytesIO(response.content)) as file:
        assert file.imagej_metadata
        assert (file.imagej_metadata["unit"], file.imagej_metadata["slices"]) == ("micron", 3)
        assert file.series[0].axes == "ZYX"


def test_a_single_page_keeps_its_size_in_a_tiff(client: TestClient):
    data = tiff(GREY, resolution=(10_000, 10_000), resolutionunit="CENTIMETER")
    response = client.post("/segment", files={"file": data}, headers={"Accept": "image/tiff"})
    stack = ImageFile.read(response.content).header.stack
    assert stack
    assert stack.pixel_size == PixelSize(1.0, 1.0)


def test_geojson_has_areas_in_square_micrometres(client: TestClient):
    features = client.post("/segment?output=geojson&threshold=0.01", files={"file": CALIBRATED}).json()["features"]
    assert features
    for feature in features:
        properties = feature["properties"]
        assert properties["area_um2"] == pytest.approx(properties["area"] * 0.125)
    plain = client.post("/segment?output=geojson&threshold=0.01", files={"file": pillow(GREY, "PNG")}).json()
    assert all("area_um2" not in feature["properties"] for feature in plain["features"])


def test_every_plane_of_a_metamorph_stack_has_a_mask(client: TestClient):
    planes = np.stack([GREY16, GREY16 // 2, GREY16 // 3])
    response = client.post("/segment", files={"file": ("cells.stk", metamorph(planes))})
    assert np.array_equal(decode_pages(response.content), [mask(client, tiff(plane)) for plane in planes])
