"""The weights that come with the project do what their card says."""

from pathlib import Path

import numpy as np
import pytest

from model.outputs.objects import find_regions
from model.segmenter import Segmenter
from model.weights_file import BUNDLED, load_weights
from training.data.folder import load_samples
from training.scoring.distortions import DISTORTIONS
from training.scoring.measures import BOUNDED, Measures
from training.scoring.prediction_scoring import evaluate
from training.scoring.rand import rand_and_information, segments
from training.synthetic import cells

SOME = {"3", "11", "19"}
SECTIONS = Path(__file__).parents[3] / "shared" / "isbi2012" / "train"


@pytest.fixture(scope="module")
def bundled() -> Segmenter:
    return Segmenter.load()


def test_they_are_small_and_say_where_they_come_from():
    description = load_weights(BUNDLED).description
    assert BUNDLED.stat().st_size <= 16 * 2**20
    assert description.labels == {0: "membrane", 255: "cell interior"}
    assert {"recipe", "images", "commit", "seed", "reached", "calibrated"} <= description.provenance.keys()
    scores = description.provenance["calibrated"]
    assert isinstance(scores, dict)
    assert scores["threshold"] == description.threshold


def test_they_find_the_membranes_of_images_of_another_kind(bundled: Segmenter):
    image, label = cells(256, np.random.default_rng(1))
    threshold = bundled.description.threshold
    found = segments(bundled.probabilities(image)[0], threshold)
    assert rand_and_information(found, find_regions(label.view(np.uint8)))[0] > 0.98
    mask = bundled.mask(image) == 255
    assert mask[label].mean() > 0.8, "the threshold is one for keeping cells apart: membranes come out thick"
    assert mask[~label].mean() < 0.05


def test_brightness_contrast_and_depth_of_the_image_hardly_matter(bundled: Segmenter):
    image, _ = cells(256, np.random.default_rng(2))
    mask = bundled.mask(image)
    dim = (image // 4 + 30).astype(np.uint8)
    assert (bundled.mask(dim) == mask).mean() > 0.97
    assert (bundled.mask(image.astype(np.uint16) * 257) == mask).mean() > 0.9999


@pytest.mark.skipif(not SECTIONS.is_dir(), reason="needs the ISBI 2012 sections beside the project")
@pytest.mark.parametrize("kind", ["as they are", "darker", "blurred", "noisy", "15% larger", "15% smaller"])
def test_they_separate_the_cells_of_their_sections_distorted_too(bundled: Segmenter, kind: str):
    """They were trained on these sections: a floor, no measure of how good they are."""
    some = SOME if kind == "as they are" else {"11"}
    samples = [sample for sample in load_samples(SECTIONS) if sample.name in some]
    distorted = [DISTORTIONS[kind](sample) if kind in DISTORTIONS else sample for sample in samples]
    evaluation = evaluate(bundled, distorted, Measures("v_rand", segments=True, matches=False), effort=BOUNDED)
    assert len(evaluation.images) == len(some)
    assert evaluation.score(bundled.description.threshold) > 0.95
