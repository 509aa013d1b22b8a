"""The weights that come with the project do what their card says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.client import Client
from model.outputs.objects import find_regions
from model.segmenter import Segmenter
from model.weights_file import BUNDLED, load_weights
from tests.support.measuring import HOST
from tests.support.servers import service
from training.data.folder import load_samples
from training.scoring.distortions import DISTORTIONS
from training.scoring.measures import BOUNDED, Measures
from training.scoring.object_scores import match_objects
from training.scoring.prediction_scoring import evaluate
from training.scoring.rand import rand_and_information, segments
from training.synthetic import cells

SOME = {"3", "11", "19"}
NUCLEI, NUCLEI_INT8 = (BUNDLED.with_name(f"nuclei{end}") for end in (".safetensors", "-int8.xml"))
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


def fluorescence(side: int = 256) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bright ellipses of 14 to 26 pixels on a dark ground, blurred and noisy: grey image and ids, side x side."""
    rng, ids = np.random.default_rng(3), np.zeros((side, side), np.int32)
    light = np.full((side, side), 12.0, np.float32)
    for row, column in np.ndindex(side // 36, side // 36):
        centre = np.array([column, row]) * 36 + 22 + rng.integers(-4, 5, 2)
        axes, angle = rng.integers(7, 14, 2), float(rng.uniform(0, 180))
        for canvas, value in ((ids, ids.max() + 1), (light, rng.uniform(50, 130))):
            cv2.ellipse(canvas, tuple(centre.tolist()), tuple(axes.tolist()), angle, 0, 360, float(value), cv2.FILLED)
    seen = cv2.GaussianBlur(light, (0, 0), 1.2) + rng.normal(0, 3, light.shape)
    return np.clip(seen, 0, 255).astype(np.uint8), ids


@pytest.fixture(scope="module")
def nuclei_client() -> Iterator[Client]:
    with service(weights=NUCLEI) as server, Client(f"http://{HOST}:{server.port}") as client:
        yield client


def test_nuclei_weights_are_small_and_say_where_they_come_from():
    description = load_weights(NUCLEI).description
    assert NUCLEI.stat().st_size <= 4 * 2**20
    assert (description.name, description.objects) == ("nuclei", "seeds")
    assert description.labels == {0: "background", 255: "nucleus"}
    assert description.provenance["images"] == {"training": 132, "validation": 0}
    assert {"data", "licence", "folds"} <= description.provenance.keys()


@pytest.mark.parametrize("form", ["grey", "RGB", "16 bits"])
def test_service_finds_the_nuclei_of_a_generated_image(nuclei_client: Client, form: str):
    image, ids = fluorescence()
    forms: dict[str, NDArray[Any]] = {
        "grey": image,
        "RGB": np.dstack([image] * 3),
        "16 bits": image.astype(np.uint16) * 257,
    }
    found = nuclei_client.segment(forms[form], "instances").astype(np.int32)
    matches = match_objects(found, ids, np.ones(ids.shape, np.bool_))
    assert (matches.labelled, matches.found) == (49, 49)
    assert matches.f1[2] == 1, "each nucleus has an IoU above 0.7"


def test_nuclei_weights_in_8_bits_find_the_same_nuclei(nuclei_client: Client):
    image, _ = fluorescence()
    mask = nuclei_client.segment(image)
    assert (Segmenter.load(NUCLEI_INT8).mask(image) == mask).mean() > 0.99
