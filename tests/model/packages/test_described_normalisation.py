import numpy as np
import pytest
from pydantic import ValidationError

from model.inputs.preprocessing import Preprocessing
from model.packages.described_normalisation import DescribedNormalisation


def test_channels_are_measured_separately_or_together(make_image):
    image = make_image(40, 50, channels=2)
    apart = DescribedNormalisation(statistic="moments", eps=0)
    together = DescribedNormalisation(statistic="moments", eps=0, together=True)
    assert np.allclose(apart.moments(image), [image.mean(axis=(0, 1)), image.std(axis=(0, 1))])
    assert np.allclose(together.moments(image), [[image.mean()] * 2, [image.std()] * 2])


def test_gains_of_each_channel_are_applied_to_it(make_image):
    image = make_image(10, 12, channels=3)
    described = DescribedNormalisation(gain=(1.0, 2.0, 4.0), offset=(0.5,))
    preprocessing = Preprocessing(channels="rgb", scaling="unit", normalisation="described", described=described)
    found = preprocessing.affine(image).apply(image)
    assert np.allclose(found.transpose(1, 2, 0), image / 255 * np.array([1, 2, 4]) + 0.5, atol=1e-5)


@pytest.mark.parametrize("fields", [{"gain": (0.0,)}, {"offset": (float("nan"),)}, {"percentiles": (50, 50)}])
def test_numbers_that_cannot_be_used_are_refused(fields):
    with pytest.raises(ValidationError):
        DescribedNormalisation(**fields)


def test_the_described_numbers_belong_to_that_normalisation_only():
    with pytest.raises(ValidationError, match="described"):
        Preprocessing(normalisation="described")
    with pytest.raises(ValidationError, match="described"):
        Preprocessing(described=DescribedNormalisation())
