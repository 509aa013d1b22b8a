"""The labels of public data sets in the form in which their authors publish them, made from prepared ones.

Each test writes a few images of `../shared/datasets` as published and reads them without any option.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from training.data.folder import IGNORED, LabelledData, load_data
from training.data.inspection import foreground_is_thin

DATASETS = Path(__file__).parents[5] / "shared" / "datasets"
PART = {"nuclei": 6, "vessels": 3, "cracks": 4, "polyps": 6, "streets": 6}

pytestmark = pytest.mark.skipif(not DATASETS.is_dir(), reason="needs the data sets beside the project")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> dict[str, LabelledData]:
    """A few pairs of each data set, from all over it, in the layout of the training."""
    found = {}
    for name, count in PART.items():
        folder = tmp_path_factory.mktemp(name)
        files = sorted((DATASETS / name / "image").iterdir())
        for file in files[:: len(files) // count][:count]:
            for part, path in (("image", file), ("label", DATASETS / name / "label" / f"{file.stem}.png")):
                (folder / part).mkdir(exist_ok=True)
                (folder / part / path.name).symlink_to(path)
        found[name] = load_data(folder)
    return found


def _write(path: Path, grid, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path, **options)


def _assert_same(published: LabelledData, expected: LabelledData, most_wrong: float = 0.0) -> None:
    assert len(published.samples) == len(expected.samples)
    for one, other in zip(published.samples, expected.samples, strict=True):
        assert (one.label != other.label).mean() <= most_wrong


def _white(sample):
    return sample.foreground.astype(np.uint8) * np.uint8(255)


def test_the_prepared_sets_are_recognised(prepared):
    kinds = {name: (data.scheme.format, data.scheme.classes) for name, data in prepared.items()}
    masks = dict.fromkeys(("vessels", "cracks", "polyps"), ("mask", 1))
    assert kinds == {"nuclei": ("instances", 1), "streets": ("classes", 12), **masks}


def test_vessels_and_cracks_are_thin_and_nothing_else_is(prepared):
    thin = {name for name, data in prepared.items() if foreground_is_thin(data.samples)}
    assert thin == {"vessels", "cracks"}


@pytest.mark.parametrize("layout", ["ID/masks", "masks/ID"])
def test_nuclei_with_a_mask_per_nucleus(tmp_path, prepared, layout):
    for sample in prepared["nuclei"].samples:
        ids = sample.ids
        inner = tmp_path / sample.name if layout == "ID/masks" else tmp_path
        _write(inner / "images" / f"{sample.name}.png", sample.pixels)
        masks = inner / "masks" if layout == "ID/masks" else inner / "masks" / sample.name
        for number in np.unique(ids)[1:]:
            _write(masks / f"{number:04}.png", np.where(ids == number, 255, 0).astype(np.uint8))
    published = load_data(tmp_path)
    _assert_same(published, prepared["nuclei"])
    for one, other in zip(published.samples, prepared["nuclei"].samples, strict=True):
        ranks = np.unique(other.ids, return_inverse=True)[1].reshape(other.label.shape)
        assert one.ids is not None
        assert (one.ids == ranks).all()


def test_vessels_as_gif_with_their_fields_of_view(tmp_path, prepared):
    for sample in prepared["vessels"].samples:
        _write(tmp_path / "training/images" / f"{sample.name}_training.tif", sample.pixels)
        _write(tmp_path / "training/1st_manual" / f"{sample.name}_manual1.gif", _white(sample))
        _write(tmp_path / "training/mask" / f"{sample.name}_training_mask.gif", _white(sample) * 0 + np.uint8(255))
    _assert_same(load_data(tmp_path), prepared["vessels"])


def test_cracks_as_matlab_structs_of_1_and_2(tmp_path, prepared):
    for sample in prepared["cracks"].samples:
        _write(tmp_path / "image" / f"{sample.name}.png", sample.pixels)
        segmentation = sample.foreground.astype(np.uint8) + np.uint8(1)
        truth = {"Segmentation": segmentation.astype(np.uint16), "Boundaries": segmentation > 1}
        (tmp_path / "groundTruth").mkdir(exist_ok=True)
        scipy.io.savemat(tmp_path / "groundTruth" / f"{sample.name}.mat", {"groundTruth": truth})
    published = load_data(tmp_path)
    assert published.scheme.values == (1, 2)
    _assert_same(published, prepared["cracks"])


def test_polyps_with_grey_values_at_the_edges(tmp_path, prepared):
    for sample in prepared["polyps"].samples:
        original = tmp_path / "Original" / f"{sample.name}.tif"
        original.parent.mkdir(exist_ok=True)
        tifffile.imwrite(original, sample.pixels, photometric="minisblack", planarconfig="contig")  # in colours
        _write(tmp_path / "Ground Truth" / f"{sample.name}.tif", cv2.GaussianBlur(_white(sample), (3, 3), 0))
    published = load_data(tmp_path)
    assert published.scheme.threshold == 127.5
    _assert_same(published, prepared["polyps"], most_wrong=0.002)


@pytest.mark.parametrize("name", ["polyps", "cracks", "vessels"])
def test_masks_as_jpeg_with_the_suffix_mask(tmp_path, prepared, name):
    for sample in prepared[name].samples:
        _write(tmp_path / f"{sample.name}.png", sample.pixels)
        _write(tmp_path / f"{sample.name}_mask.jpg", _white(sample), quality=85)
    published = load_data(tmp_path)
    assert published.scheme.threshold is not None
    _assert_same(published, prepared[name], most_wrong=0.002)


def test_streets_with_255_for_void(tmp_path, prepared):
    for sample in prepared["streets"].samples:
        _write(tmp_path / "images" / f"{sample.name}.png", sample.pixels)
        _write(tmp_path / "annotations" / f"{sample.name}.png", np.where(sample.label == 11, 255, sample.label))
    published = load_data(tmp_path)
    assert (published.scheme.classes, published.scheme.ignore) == (11, (255,))
    for one, other in zip(published.samples, prepared["streets"].samples, strict=True):
        assert (one.label == np.where(other.label == 11, IGNORED, other.label)).all()


def test_streets_as_a_palette_and_in_colours(tmp_path, prepared):
    colours = np.random.default_rng(0).permutation(256)[:36].reshape(12, 3).astype(np.uint8)
    for sample in prepared["streets"].samples:
        for form in ("palette", "colours"):
            _write(tmp_path / form / "images" / f"{sample.name}.png", sample.pixels)
        picture = Image.frombytes("P", sample.label.shape[::-1], sample.label.tobytes())
        picture.putpalette(colours.ravel().tolist())
        (tmp_path / "palette/labels").mkdir(exist_ok=True)
        picture.save(tmp_path / f"palette/labels/{sample.name}.png")
        _write(tmp_path / "colours/labels" / f"{sample.name}.png", colours[sample.label])
    _assert_same(load_data(tmp_path / "palette"), prepared["streets"])
    published = load_data(tmp_path / "colours")
    ranks = np.array([published.scheme.colours.index(tuple(colour)) for colour in colours.tolist()])
    for one, other in zip(published.samples, prepared["streets"].samples, strict=True):
        assert (one.label == ranks[other.label]).all()
