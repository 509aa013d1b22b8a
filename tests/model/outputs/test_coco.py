import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from model.outputs.coco import annotations
from model.outputs.objects import find_regions

# pycocotools hands numpy arrays of the kind before numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = {0: "background", 255: "cell"}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_each_run_length_mask_is_its_object(share: float):
    mask = np.where(np.random.default_rng(1).random((31, 47)) < share, 255, 0).astype(np.uint8)
    ids = find_regions(mask)
    found = annotations([(ids, mask)], LABELS, "x")["annotations"]
    assert len(found) == ids.max()
    for index, each in enumerate(found, start=1):
        decoded = coco_mask.decode(each["segmentation"]).astype(bool)
        assert np.array_equal(decoded, ids == index)
        rows, columns = np.nonzero(decoded)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert each["bbox"] == box
        assert each["area"] == decoded.sum()


def test_cocos_own_reader_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pages = []
    for seed in (0, 1):
        mask = np.random.default_rng(seed).integers(0, 3, (12, 9)).astype(np.uint8)
        pages.append((find_regions(mask), mask))
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(annotations(pages, {0: "background", 1: "one", 2: "two"}, "stack.tif")))
    coco = COCO(path)
    capsys.readouterr()
    assert [(image["file_name"], image["page"]) for image in coco.loadImgs([1, 2])] == [
        ("stack.tif", 0),
        ("stack.tif", 1),
    ]
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["one", "two"]
    for page, (_, mask) in enumerate(pages, start=1):
        drawn = np.zeros_like(mask)
        for each in coco.loadAnns(coco.getAnnIds(imgIds=page)):
            drawn[coco.annToMask(each) > 0] = each["category_id"]
        assert np.array_equal(drawn, mask)
