import numpy as np
import pytest

from model.inputs.preprocessing import Preprocessing
from model.predict.volumes.moments import add, affine, sums


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (333, 257), (1500, 1100), (2, 2**20 + 5)])
def test_partial_elastic_fields_equal_opencvs_whole_field(size, dtype):
    random = np.random.default_rng(sum(size))
    full = np.iinfo(dtype).max
    for image in (
        random.integers(0, full, (*size, 2), dtype, endpoint=True),
        random.integers(full - 3, full, (*size, 2), dtype, endpoint=True),  # little contrast, far from 0
        np.full((*size, 2), full, dtype),
    ):
        expected = Preprocessing(channels="stored", normalisation="zscore").affine(image)
        parts = [
            sums(part)
            for rows in np.array_split(image, 3 if size[0] > 2 else 1)
            for part in np.array_split(rows, 2 if size[1] > 1 else 1, axis=1)
        ]
        found = affine(add(parts), size[0] * size[1], image.dtype)
        assert np.array_equal(found.shift, expected.shift)
        assert np.array_equal(found.scale, expected.scale)


def test_sums_are_whole_numbers_of_any_size():
    image = np.full((1100, 1000, 1), 65535, np.uint16)
    assert sums(image) == ((65535 * 1_100_000, 65535**2 * 1_100_000),)
    assert add([sums(image)] * 3) == ((3 * 65535 * 1_100_000, 3 * 65535**2 * 1_100_000),)
