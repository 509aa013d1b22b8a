"""Layouts of data folders, from the files that a test writes."""

import json

import numpy as np
import pytest
from PIL import Image

from training.data.folder import load_data, load_samples
from training.data.names import image_key, label_key
from training.data.pairing import find_pairs
from training.data_error import DataError

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
HALF = np.zeros((16, 16), np.uint8)
HALF[:6] = 255


def _write(folder, name, grid=HALF):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path)


def _pairs(folder):
    layout = find_pairs(folder)
    assert layout.problems == []
    return {pair.name: [str(path.relative_to(folder)) for path in pair.labels] for pair in layout.pairs}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("cell 7.png", "cell 7_mask.png"),
        ("a.png", "a_Masks.bmp"),
        ("21_training.png", "21_manual1.gif"),
        ("x_image.png", "x_label.png"),
        ("img_3.png", "mask_3.png"),
        ("b.png", "b-GT.tif"),
        ("c.png", "c_segmentation.png"),
        ("d.png", "d_training_mask.png"),
        ("Image_01L.png", "Image_01L_1stHO.png"),
    ],
)
def test_names_that_differ_by_usual_words_are_a_pair(tmp_path, image, label):
    _write(tmp_path, f"images/{image}")
    _write(tmp_path, f"masks/{label}")
    assert _pairs(tmp_path) == {image.rpartition(".")[0]: [f"masks/{label}"]}


def test_equal_names_win_over_similar_ones(tmp_path):
    for name in ("a.png", "a_test.png"):
        _write(tmp_path, f"image/{name}")
        _write(tmp_path, f"label/{name}")
    assert _pairs(tmp_path) == {"a": ["label/a.png"], "a_test": ["label/a_test.png"]}


def test_a_name_of_usual_words_only_stays():
    assert label_key("mask") == "mask"
    assert image_key("image") == "image"


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("Images", "GT"),
        ("imgs", "annotations"),
        ("IMG", "Ground Truth"),
        ("Original", "ground_truth"),
        ("images", "1st_manual"),
        ("train", "train_masks"),
    ],
)
def test_folders_have_many_names(tmp_path, images, labels):
    _write(tmp_path, f"{images}/0.png")
    _write(tmp_path, f"{labels}/0.png")
    assert _pairs(tmp_path) == {"0": [f"{labels}/0.png"]}


def test_the_label_folder_is_chosen_and_the_choice_is_said(tmp_path):
    """DRIVE has the field of view in `mask`."""
    _write(tmp_path, "training/images/21_training.tif")
    _write(tmp_path, "training/1st_manual/21_manual1.gif")
    _write(tmp_path, "training/mask/21_training_mask.gif")
    _write(tmp_path, "test/images/01_test.tif")
    _write(tmp_path, "test/mask/01_test_mask.gif")
    assert _pairs(tmp_path) == {"21_training": ["training/1st_manual/21_manual1.gif"]}
    notes = " ".join(find_pairs(tmp_path).notes)
    assert "labels are read from 1st_manual; mask is not used" in notes
    assert "images are read from training; test is not used" in notes


def test_two_parts_without_a_training_part_are_refused(tmp_path):
    for part in ("val", "test"):
        _write(tmp_path, f"{part}/images/0.png")
        _write(tmp_path, f"{part}/masks/0.png")
    with pytest.raises(DataError, match=r"several folders .*: test, val; name one of them with --data"):
        find_pairs(tmp_path)


def test_a_folder_per_patient_gives_names_with_the_patient(tmp_path):
    for patient in ("p1", "p2"):
        _write(tmp_path, f"{patient}/image/0.png")
        _write(tmp_path, f"{patient}/image/1.png")
        _write(tmp_path, f"{patient}/label/0.png")
        _write(tmp_path, f"{patient}/label/1.png")
    assert list(_pairs(tmp_path)) == ["p1/0", "p1/1", "p2/0", "p2/1"]


def test_subfolders_are_part_of_the_names(tmp_path):
    for name in ("monday/2.png", "monday/10.png", "friday/2.png"):
        _write(tmp_path, f"images/{name}", GREY)
        _write(tmp_path, f"masks/{name}")
    assert [sample.name for sample in load_samples(tmp_path)] == ["friday/2", "monday/2", "monday/10"]


def test_labels_in_one_folder_fit_images_in_subfolders(tmp_path):
    _write(tmp_path, "images/monday/a.png")
    _write(tmp_path, "masks/a_mask.png")
    assert _pairs(tmp_path) == {"monday/a": ["masks/a_mask.png"]}


@pytest.mark.parametrize("folder", [".", "images"])
def test_labels_are_found_beside_their_images(tmp_path, folder):
    for name in ("a.tif", "a_mask.tif", "b.tif", "b_mask.tif"):
        _write(tmp_path, f"{folder}/{name}")
    assert set(_pairs(tmp_path)) == {"a", "b"}


def test_an_image_beside_pairs_that_lacks_its_label_is_named(tmp_path):
    for name in ("a.png", "a_mask.png", "b.png"):
        _write(tmp_path, name)
    (problem,) = find_pairs(tmp_path).problems
    assert problem.startswith(str(tmp_path / "b.png"))
    assert "no label" in problem


def test_several_labels_for_one_image_are_a_problem(tmp_path):
    _write(tmp_path, "image/a.png")
    for name in ("a_mask.png", "a_label.png"):
        _write(tmp_path, f"label/{name}")
    assert any(
        "several labels, a_label.png, a_mask.png; one is expected" in each for each in find_pairs(tmp_path).problems
    )


def test_files_that_are_not_images_are_skipped(tmp_path):
    _write(tmp_path, "image/a.png")
    _write(tmp_path, "label/a.png")
    for name in ("Thumbs.db", "README.txt", ".DS_Store", ".a.png"):
        for part in ("image", "label"):
            (tmp_path / part / name).write_text("x")
    assert set(_pairs(tmp_path)) == {"a"}


def _object(rows, columns):
    grid = np.zeros((16, 16), np.uint8)
    grid[rows, columns] = 255
    return grid


OBJECTS = {"x1": _object(slice(1, 5), slice(1, 5)), "x2": _object(slice(8, 15), slice(8, 15))}


@pytest.mark.parametrize("layout", ["masks/NAME", "ID"])
def test_one_file_per_object_becomes_ids(tmp_path, layout):
    for stem in ("7", "8"):
        image = f"images/{stem}.png" if layout != "ID" else f"{stem}/images/{stem}.png"
        _write(tmp_path, image, GREY)
        for name, grid in OBJECTS.items():
            _write(tmp_path, f"masks/{stem}/{name}.png" if layout != "ID" else f"{stem}/masks/{name}.png", grid)
    data = load_data(tmp_path)
    assert data.scheme.format == "instances"
    assert [sample.name for sample in data.samples] == ["7", "8"]
    expected = (OBJECTS["x1"] > 0) + 2 * (OBJECTS["x2"] > 0)
    assert (data.samples[0].ids == expected).all()


def test_the_smaller_of_two_overlapping_objects_is_on_top(tmp_path):
    _write(tmp_path, "images/7.png", GREY)
    small, large = _object(slice(4, 8), slice(4, 8)), _object(slice(1, 15), slice(1, 15))
    _write(tmp_path, "masks/7/a.png", small)
    _write(tmp_path, "masks/7/b.png", large)
    (sample,) = load_samples(tmp_path)
    assert sample.ids is not None
    assert (sample.ids[4:8, 4:8] == 1).all()
    assert sample.encoding is not None
    assert sample.encoding.overlap == 16


def test_the_damaged_file_of_an_object_is_named(tmp_path):
    _write(tmp_path, "images/7.png", GREY)
    for name, grid in OBJECTS.items():
        _write(tmp_path, f"masks/7/{name}.png", grid)
    (tmp_path / "masks/7/x2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 problem (.|\n)*masks/7/x2\.png: The file is empty"):
        load_samples(tmp_path)


SQUARE = [[1, 1], [9, 1], [9, 5], [1, 5], [1, 1]]
BELOW = [[2, 8], [6, 8], [6, 12], [2, 12], [2, 8]]
HOLE = [[3, 2], [5, 2], [5, 4], [3, 4], [3, 2]]


def _feature(*rings, name="", kind="Polygon"):
    properties = {"objectType": "annotation", **({"classification": {"name": name}} if name else {})}
    coordinates = list(rings) if kind == "Polygon" else [[ring] for ring in rings]
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def _filled(ring, value=1):
    grid = np.zeros((16, 16), np.uint8)
    (x0, y0), (x1, y1) = ring[0], ring[2]
    grid[y0:y1, x0:x1] = value
    return grid


@pytest.mark.parametrize("suffix", ["geojson", "json"])
@pytest.mark.parametrize("bare", [True, False])
def test_geojson_polygons_are_objects(tmp_path, suffix, bare):
    _write(tmp_path, "images/a.png", GREY)
    features = [_feature(SQUARE, HOLE), _feature(BELOW, kind="MultiPolygon")]
    (tmp_path / "labels").mkdir()
    contents = features if bare else {"type": "FeatureCollection", "features": features}
    (tmp_path / f"labels/a.{suffix}").write_text(json.dumps(contents))
    (sample,) = load_samples(tmp_path)
    expected = _filled(SQUARE) - _filled(HOLE)
    expected[8:12, 2:6] = 2
    assert (sample.ids == expected).all()


def test_geojson_classifications_are_classes(tmp_path):
    for stem, names in (("a", ("tumour", "stroma")), ("b", ("stroma", ""))):
        _write(tmp_path, f"{stem}.png", GREY)
        features = [
            _feature(SQUARE, name=names[0]),
            _feature([[2, 8], [6, 8], [6, 12], [2, 12], [2, 8]], name=names[1]),
        ]
        (tmp_path / f"{stem}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    data = load_data(tmp_path)
    assert data.scheme.names == ("background", "stroma", "tumour")
    assert np.unique(data.samples[0].label).tolist() == [0, 1, 2]
    assert np.unique(data.samples[1].label).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ("{", "the JSON is damaged"),
        ('{"a": 1}', "this is not GeoJSON"),
        (json.dumps([_feature([[1, 1]], kind="Polygon")]), "coordinates cannot be read"),
        (json.dumps([{"geometry": {"type": "Point", "coordinates": [1, 1]}}]), "type Point; Polygon or MultiPolygon"),
    ],
)
def test_damaged_geojson_is_named(tmp_path, contents, said):
    _write(tmp_path, "image/a.png", GREY)
    (tmp_path / "label").mkdir()
    (tmp_path / "label/a.geojson").write_text(contents)
    with pytest.raises(DataError, match=rf"a\.geojson: .*{said}"):
        load_samples(tmp_path)


def _coco(tmp_path, categories, annotations, name="annotations.json"):
    for stem in "ab":
        _write(tmp_path, f"images/{stem}.png", GREY)
    images = [{"id": number, "file_name": f"{stem}.png", "width": 16, "height": 16} for number, stem in enumerate("ab")]
    contents = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / name).write_text(json.dumps(contents))


POLYGON = [[1, 1, 9, 1, 9, 5, 1, 5]]
RUNS = {"size": [16, 16], "counts": [16 * 8, 16 * 4, 16 * 4]}


def test_coco_annotations_of_one_category_are_objects(tmp_path):
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 3, "segmentation": POLYGON},
        {"id": 2, "image_id": 0, "category_id": 3, "segmentation": RUNS},
        {"id": 3, "image_id": 1, "category_id": 3, "segmentation": POLYGON},
        {"id": 4, "image_id": 1, "category_id": 3, "segmentation": RUNS, "iscrowd": 1},
    ]
    _coco(tmp_path, [{"id": 3, "name": "cell"}], annotations)
    first, second = load_samples(tmp_path)
    assert first.ids is not None
    assert (first.ids[:, 8:12][8:] == 2).all()
    assert (first.ids[2:4, 2:7] == 1).all()
    assert (second.counted[8:, 8:12] == False).all()  # noqa: E712 - a crowd says nothing about its pixels
    assert second.foreground[2:4, 2:7].all()


def test_coco_annotations_of_several_categories_are_classes(tmp_path):
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 7, "segmentation": POLYGON},
        {"id": 2, "image_id": 1, "category_id": 3, "segmentation": RUNS},
    ]
    _coco(tmp_path, [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 9, "name": "cow"}], annotations)
    data = load_data(tmp_path)
    assert data.scheme.names == ("background", "cat", "dog")
    assert (data.samples[0].label[2:4, 2:7] == 2).all()
    assert (data.samples[1].label[:, 8:12] == 1).all()


def test_two_coco_files_are_refused(tmp_path):
    for name in ("instances_train.json", "instances_val.json"):
        _coco(tmp_path, [], [], name)
    with pytest.raises(DataError, match=r"several COCO annotation files, instances_train\.json, instances_val"):
        load_samples(tmp_path)


def test_coco_annotations_of_images_of_another_size_are_refused(tmp_path):
    _coco(tmp_path, [{"id": 3, "name": "cell"}], [{"id": 1, "image_id": 0, "category_id": 3, "segmentation": POLYGON}])
    _write(tmp_path, "images/a.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match=r"annotations\.json: a\.png: 16 x 16 pixels, its image has 8 x 8"):
        load_samples(tmp_path)


@pytest.mark.parametrize("segmentation", [None, 3, [[1, 2]], {"size": [4, 4], "counts": "x"}, {"counts": [3]}])
def test_annotations_that_cannot_be_read_are_named(tmp_path, segmentation):
    _coco(tmp_path, [], [{"id": 5, "image_id": 0, "category_id": 1, "segmentation": segmentation}])
    with pytest.raises(DataError, match=r"annotations\.json: annotation 5: "):
        load_samples(tmp_path)
