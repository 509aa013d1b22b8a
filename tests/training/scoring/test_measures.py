import numpy as np
import pytest

from training.data.folder import Sample
from training.scoring.measures import spread


def _samples(*sides: int) -> list[Sample]:
    grids = [np.zeros((side, side), np.uint8) for side in sides]
    return [Sample(str(index), grid, grid) for index, grid in enumerate(grids)]


def test_all_samples_are_taken_if_they_fit():
    samples = _samples(10, 20, 30)
    assert spread(samples, 1400) == samples


def test_one_large_image_does_not_crowd_out_the_others():
    chosen = spread(_samples(*[10] * 20, 100, *[10] * 20), 2000)
    assert len(chosen) == 20
    assert sum(sample.label.size for sample in chosen) <= 2000


@pytest.mark.parametrize("pixels", [1, 99])
def test_one_sample_is_taken_however_large(pixels):
    assert [sample.name for sample in spread(_samples(10, 10, 10), pixels)] == ["0"]


def test_samples_come_from_all_over_the_list():
    chosen = [int(sample.name) for sample in spread(_samples(*[10] * 100), 1000)]
    assert len(chosen) == 10
    assert max(np.diff([-1, *chosen, 100])) <= 20
