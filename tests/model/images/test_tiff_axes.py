import struct
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile

from model.images.calibration import PixelSize
from model.images.decoding import ImageFile, decode_pages
from model.images.image_errors import UnsupportedImage
from model.images.tiff_axes import MAX_PLANES, Stack
from tests.support.image_files import GREY, RGB, H, W, tiff

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)  # time, section, channel


def stack_of(data: bytes) -> Stack:
    stack = ImageFile.read(data).header.stack
    assert stack
    return stack


def places(stack: Stack) -> list[tuple[int, int, int]]:
    """Channel, section and time of each plane."""
    return [(plane.c, plane.z, plane.t) for plane in stack.planes]


def hyperstack(axes: str) -> np.ndarray:
    """Planes whose pixels all have one value, with axes in this order."""
    moved = np.moveaxis(VALUES, [0, 1, 2], [axes.index(axis) for axis in "TZC"])
    return np.ascontiguousarray(np.broadcast_to(moved[..., None, None], (*moved.shape, H, W)))


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("TZC", {"imagej": True}),
        *((axes, {"ome": True}) for axes in ("TZC", "TCZ", "ZCT", "CTZ")),
        *((axes, {"photometric": "minisblack"}) for axes in ("TZC", "CZT")),
    ],
)
def test_pages_of_a_channel_are_sections_and_times(axes, options):
    data = tiff(hyperstack(axes), metadata={"axes": f"{axes}YX"}, **options)
    file = ImageFile.read(data)
    assert file.header.pages == 6
    assert len(file.header.channels) == 4
    for channel in range(4):
        decoded = file.decode(str(channel))
        found = {(plane.t, plane.z): int(page[0, 0]) for page, plane in zip(decoded.pages, decoded.planes, strict=True)}
        assert found == {(t, z): VALUES[t, z, channel] for t in range(2) for z in range(3)}
        assert {plane.c for plane in decoded.planes} == {channel}


def test_channels_of_ome_have_names():
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    data = tiff(np.stack([GREY, 255 - GREY]), ome=True, metadata=metadata)
    assert ImageFile.read(data).header.channels == ("DAPI", "GFP")
    [page] = ImageFile.read(data).decode("gfp").pages
    assert np.array_equal(page, 255 - GREY)


def test_rgb_in_ome_is_one_channel():
    for pixels, axes in ((RGB, "YXS"), (RGB.transpose(2, 0, 1), "SYX")):
        data = tiff(pixels, ome=True, photometric="rgb", metadata={"axes": axes})
        assert ImageFile.read(data).header.channels == ()
        assert np.array_equal(decode_pages(data)[0], RGB)


OME = """<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint8" DimensionOrder="XYCZT" SizeX="{w}" SizeY="{h}" SizeC="{c}"
SizeZ="{z}" SizeT="1" {more}>{inside}</Pixels></Image></OME>"""


def ome(pages: int, inside: str = "", more: str = "", c: int = 1, z: int = 1) -> bytes:
    text = OME.format(w=W, h=H, c=c, z=z, more=more, inside=inside)
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in range(pages):
            description = text if page == 0 else None
            writer.write(np.full((H, W), page, np.uint8), description=description, metadata=None)
    return buffer.getvalue()


def test_tiff_data_says_where_a_plane_is():
    blocks = "".join(f'<TiffData IFD="{3 - index}" FirstC="{index % 2}" FirstZ="{index // 2}"/>' for index in range(4))
    data = ome(4, blocks, c=2, z=2)
    assert places(stack_of(data)) == [(1, 1, 0), (0, 1, 0), (1, 0, 0), (0, 0, 0)]
    assert [int(page[0, 0]) for page in ImageFile.read(data).decode("0").pages] == [1, 3]


def test_tiff_data_counts_planes_from_the_first():
    data = ome(
        4, '<TiffData FirstZ="0" IFD="0" PlaneCount="2"/><TiffData FirstZ="1" IFD="2" PlaneCount="2"/>', c=2, z=2
    )
    assert places(stack_of(data)) == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]


def test_several_images_in_one_ome_file_are_all_read():
    text = OME.format(w=W, h=H, c=1, z=2, more="", inside="")
    both = text.replace("</OME>", "") + text.partition('2016-06">')[2]
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in range(4):
            writer.write(np.full((H, W), page, np.uint8), description=both if page == 0 else None, metadata=None)
    pages = decode_pages(buffer.getvalue())
    assert [int(page[0, 0]) for page in pages] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "<?xml version='1.0'?><OME><Image",
        "<?xml version='1.0'?><OME></OME>",
        "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><OME>&a;</OME>",
        OME.format(w=W, h=H, c=5, z=7, more="", inside=""),
        OME.format(w=W, h=H, c="x", z=1, more="", inside=""),
        "ImageJ=1.54f\nimages=6\nchannels=3\nslices=2\n",
        "ImageJ=1.54f\nchannels=x\n",
        '{"shape": [7, 37, 53], "axes": "CYX"}',
        '{"shape": "no", "axes": 3}',
        '{"shape',
        "ImageJ=",
    ],
)
def test_metadata_that_contradict_the_pages_are_ignored(text):
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY, description=text, metadata=None)
        writer.write(255 - GREY)
    assert places(stack_of(buffer.getvalue())) == [(0, 0, 0), (0, 1, 0)]
    assert len(decode_pages(buffer.getvalue())) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_samples_of_grey_are_channels(dtype):
    pixels = np.stack([GREY, 255 - GREY], axis=-1).astype(dtype)
    data = tiff(pixels, photometric="minisblack", planarconfig="contig")
    file = ImageFile.read(data)
    assert (file.header.channels, file.header.pages) == (("0", "1"), 1)
    for channel, expected in enumerate((GREY, 255 - GREY)):
        [page] = file.decode(str(channel)).pages
        assert np.allclose(page, expected if dtype != np.float32 else expected / 255)


def lsm(channels: int, sections: int) -> bytes:
    """As Zeiss writes it: samples are channels in planes of their own, every second page is a thumbnail."""
    info = struct.pack("<10i", 0x00300494C, 200, W, H, sections, channels, 1, 1, 128, 128)
    info += struct.pack("<3d", 2e-7, 2e-7, 1e-6) + bytes(200)
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for section in range(sections):
            pixels = np.stack([np.full((H, W), 10 * section + channel, np.uint8) for channel in range(channels)])
            tags = [(34412, 1, len(info), info, True)] if section == 0 else []
            photometric = "rgb" if channels == 3 else "minisblack"
            options: dict[str, Any] = {"photometric": photometric, "planarconfig": "separate", "metadata": None}
            writer.write(pixels, extratags=tags, **options)
            writer.write(np.zeros((16, 16, 3), np.uint8), subfiletype=1, photometric="rgb")
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [2, 3])
def test_samples_of_an_lsm_file_are_channels_and_thumbnails_no_pages(channels):
    file = ImageFile.read(lsm(channels, sections=2))
    assert len(file.header.channels) == channels
    assert [int(page[0, 0]) for page in file.decode("1").pages] == [1, 11]
    assert file.header.stack is not None
    assert file.header.stack.pixel_size is not None
    assert asdict(file.header.stack.pixel_size) == pytest.approx({"x": 0.2, "y": 0.2, "z": 1.0})


def test_ome_says_the_size_of_a_pixel_and_the_bits_in_use():
    more = 'PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="250" SignificantBits="12"'
    stack = stack_of(ome(1, more=more))
    assert stack.pixel_size == PixelSize(0.25, 0.25)
    assert stack.significant_bits == 12


@pytest.mark.parametrize(
    ("units", "x", "y", "z"),
    [
        ({}, 250, 250, 2),
        ({"X": "nm"}, 0.25, 0.25, 2),
        ({"X": "nm", "Y": "nm", "Z": "nm"}, 0.25, 0.25, 0.002),
        ({"X": "nm", "Y": "um", "Z": "mm"}, 0.25, 250, 2000),
        ({"X": "nm", "Z": "stone"}, 0.25, 0.25, 0),
    ],
)
def test_ome_states_a_unit_for_each_axis(units, x, y, z):
    stated = "".join(f' PhysicalSize{axis}Unit="{unit}"' for axis, unit in units.items())
    stack = stack_of(ome(1, more=f'PhysicalSizeX="250" PhysicalSizeY="250" PhysicalSizeZ="2"{stated}'))
    assert stack.pixel_size is not None
    assert asdict(stack.pixel_size) == pytest.approx({"x": x, "y": y, "z": z})


@pytest.mark.parametrize(
    ("unit", "micrometres"), [("micron", 1), ("um", 1), ("\\u00B5m", 1), ("nm", 1e-3), ("mm", 1e3)]
)
def test_imagej_says_the_size_of_a_pixel(unit, micrometres):
    text = f"ImageJ=1.54f\nimages=1\nunit={unit}\nspacing=2\n"
    data = tiff(GREY, description=text, metadata=None, resolution=(4, 2), resolutionunit="NONE")
    assert stack_of(data).pixel_size == PixelSize(0.25 * micrometres, 0.5 * micrometres, 2 * micrometres)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((10_000, 5_000), "CENTIMETER", PixelSize(1.0, 2.0)),
        ((254, 254), "INCH", PixelSize(100.0, 100.0)),
        ((72, 72), "INCH", None),
        ((96, 96), "INCH", None),
        ((96 / 2.54, 96 / 2.54), "CENTIMETER", None),
        ((1, 1), "CENTIMETER", None),
        ((1, 1), "NONE", None),
    ],
)
def test_the_resolution_of_a_scanner_is_the_size_of_a_pixel(resolution, unit, expected):
    found = stack_of(tiff(GREY, resolution=resolution, resolutionunit=unit)).pixel_size
    if expected is None:
        assert found is None
    else:
        assert found
        assert (found.x, found.y, found.z) == pytest.approx((expected.x, expected.y, expected.z))


def test_the_size_of_a_pixel_is_turned_with_the_page():
    options = {"resolution": (20_000, 5_000), "resolutionunit": "CENTIMETER", "extratags": [(274, 3, 1, 6, True)]}
    assert stack_of(tiff(GREY, **options)).pixel_size == PixelSize(2.0, 0.5)


def test_imagej_keeps_the_resolution_of_a_screen_from_any_picture():
    assert stack_of(tiff(GREY, imagej=True, resolution=(96, 96), metadata={"unit": "inch"})).pixel_size is None


HUGE = 10**9


@pytest.mark.parametrize(
    "text",
    [
        OME.format(w=W, h=H, c=1, z=HUGE, more="", inside=""),
        OME.format(w=W, h=H, c=HUGE, z=1, more="", inside=""),
        f"ImageJ=1.54f\nchannels={HUGE}\nslices=1\n",
        "ImageJ=1.54f\nunit=" + " " * 1_000_000 + "x\n",
        f'{{"shape": [{HUGE}, 1, 1], "axes": "CYX"}}',
        '{"shape": ' + "[" * 100_000 + ' , "truncated": true',
        "<?xml version='1.0'?><OME>" + "<TiffData/>" * 300_000 + "</OME>",
    ],
    ids=["sections", "channels", "imagej", "blanks", "shape", "nested", "long"],
)
def test_metadata_cost_no_more_time_than_the_pages(text):
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY, description=text, metadata=None)
        writer.write(255 - GREY)
    # a hang or a lack of memory would fail it; time is not asserted
    assert places(stack_of(buffer.getvalue())) == [(0, 0, 0), (0, 1, 0)]


def test_more_pictures_than_are_accepted_are_refused():
    pixels = np.zeros((1, 1, 256), np.uint8)
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for _ in range(MAX_PLANES // 256 + 1):
            writer.write(pixels, photometric="minisblack", planarconfig="contig", metadata=None)
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_PLANES} pictures"):
        ImageFile.read(buffer.getvalue())
