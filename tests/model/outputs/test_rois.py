import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import read_roi
from numpy.typing import NDArray
from roifile import ImagejRoi
from shapely.geometry import Polygon

from model.images.tiff_axes import Plane
from model.inputs.net_input import NetInput
from model.outputs.objects import Ids, find_regions
from model.outputs.rois import to_rois

LABELS = {0: "background", 255: "cell"}
EMPTY = NetInput([])
IMAGEJ = Path("/usr/share/java/ij.jar")

# Prints, for each ROI, its name, the number of pixels that ImageJ measures in it, its position, and its colour.
MEASURE = """
import ij.gui.Roi;
import ij.io.RoiDecoder;
import ij.process.ByteProcessor;
import java.util.zip.*;

public class Measure {
    public static void main(String[] arguments) throws Exception {
        try (ZipInputStream archive = new ZipInputStream(new java.io.FileInputStream(arguments[0]))) {
            int width = Integer.parseInt(arguments[1]), height = Integer.parseInt(arguments[2]);
            for (ZipEntry entry; (entry = archive.getNextEntry()) != null; ) {
                Roi roi = new RoiDecoder(archive.readAllBytes(), entry.getName()).getRoi();
                ByteProcessor image = new ByteProcessor(width, height);
                image.setRoi(roi);
                System.out.println(roi.getName() + " " + image.getStatistics().pixelCount + " " + roi.getPosition()
                    + " " + roi.getCPosition() + " " + roi.getZPosition() + " " + roi.getTPosition()
                    + " " + Integer.toHexString(roi.getStrokeColor().getRGB()));
            }
        }
    }
}
"""


def noise(share: float, height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    return np.where(np.random.default_rng(0).random((height, width)) < share, 255, 0).astype(np.uint8)


def rois_of(mask: NDArray[np.uint8]) -> bytes:
    return to_rois([(find_regions(mask), mask)], LABELS, EMPTY)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_another_reader_finds_the_outline_of_each_object(share: float, tmp_path: Path):
    mask = noise(share)
    areas = np.bincount(find_regions(mask).ravel())[1:]
    (path := tmp_path / "rois.zip").write_bytes(rois_of(mask))
    found = read_roi.read_roi_zip(str(path))
    assert [roi["name"] for roi in found.values()] == list(found)
    assert len(found) == len(areas)
    for entry, roi in found.items():
        if roi["type"] == "composite":
            outer, *holes = roi["paths"]
        else:
            outer, holes = list(zip(roi["x"], roi["y"], strict=True)), []
        assert Polygon(outer, holes).area == areas[int(entry[-5:]) - 1]


def test_equal_objects_give_equal_files():
    assert rois_of(noise(0.5)) == rois_of(noise(0.5))


def test_an_image_without_objects_gives_an_empty_archive():
    with zipfile.ZipFile(BytesIO(rois_of(np.zeros((4, 4), np.uint8)))) as archive:
        assert archive.namelist() == []


def test_names_of_classes_stay_out_of_the_names_of_files():
    mask = np.zeros((4, 4), np.uint8)
    mask[1, 1] = 1
    written = to_rois([(find_regions(mask), mask)], {0: "background", 1: "../../etc/x"}, EMPTY)
    with zipfile.ZipFile(BytesIO(written)) as archive:
        assert archive.namelist() == ["001-00001.roi"]


@pytest.mark.skipif(not (IMAGEJ.exists() and shutil.which("java")), reason="needs ImageJ and Java")
class TestImageJ:
    """ImageJ's own reader and measurements."""

    def test_measures_as_many_pixels_as_each_object_has(self, tmp_path: Path):
        mask = noise(0.6)
        mask[0:20, 30:50] = 255
        areas = np.bincount(find_regions(mask).ravel())[1:]
        rows = _measure(rois_of(mask), mask.shape, tmp_path)
        assert sorted((name, int(area)) for name, area, *_ in rows) == [
            (f"cell-{number:05d}", area) for number, area in enumerate(areas.tolist(), 1)
        ]
        assert {colour for *_, colour in rows} == {"ff009e73"}

    def test_shows_each_object_where_its_page_is(self, tmp_path: Path):
        mask = np.zeros((5, 5), np.uint8)
        mask[1:3, 1:3] = 255
        page: tuple[Ids, NDArray[np.uint8]] = (find_regions(mask), mask)
        sections = to_rois([page, page], LABELS, EMPTY)
        assert [row[2] for row in _measure(sections, mask.shape, tmp_path)] == ["1", "2"]
        places = [Plane(0, None, c=1, z=0, t=0), Plane(1, None, c=1, z=0, t=1), Plane(2, None, c=1, z=1, t=0)]
        hyperstack = to_rois([page] * 3, LABELS, NetInput([], channel=1, places=places))
        assert [row[3:6] for row in _measure(hyperstack, mask.shape, tmp_path)] == [
            ["2", "1", "1"],
            ["2", "1", "2"],
            ["2", "2", "1"],
        ]

    def test_finds_objects_beyond_the_range_of_16_bits(self, tmp_path: Path):
        mask = np.zeros((3, 40_000), np.uint8)
        mask[1, 39_000:39_500] = 255
        [row] = _measure(rois_of(mask), mask.shape, tmp_path)
        assert row[1] == "500"


def _measure(rois: bytes, shape: tuple[int, ...], folder: Path) -> list[list[str]]:
    source, archive = folder / "Measure.java", folder / "rois.zip"
    source.write_text(MEASURE)
    archive.write_bytes(rois)
    size = [str(shape[1]), str(shape[0])]
    command = ["java", "-Djava.awt.headless=true", "-cp", str(IMAGEJ), str(source), str(archive), *size]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split(" ") for line in done.stdout.splitlines() if not line.startswith("LUT")]


def test_rois_of_a_net_of_all_channels_lie_in_the_hyperstack():
    """ROIs that count slices would lie on the channels of the first sections."""
    mask = noise(0.3, 8, 8)
    given = NetInput(
        [], places=[Plane(index, None, z=index) for index in range(2)], channel_pages=[("0", (0, 2)), ("1", (1, 3))]
    )
    found = zipfile.ZipFile(BytesIO(to_rois([(find_regions(mask), mask)] * 2, LABELS, given)))
    rois = [ImagejRoi.frombytes(found.read(name)) for name in found.namelist()]
    assert {(roi.position, roi.c_position, roi.z_position) for roi in rois} == {(0, 1, 1), (0, 1, 2)}
