import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.images.value_range import to_values
from model.inputs.preprocessing import Preprocessing
from tests.support.image_files import GREY, GREY16


@pytest.mark.parametrize("plane", [GREY, GREY16])
def test_8_and_16_bits_unsigned_stay_as_they_are(plane):
    assert to_values([plane]) == ([plane], None)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64, np.float16, np.float64])
def test_the_lowest_value_becomes_0_and_the_highest_1(dtype):
    [values], bounds = to_values([np.array([[5, 100], [30, 7]], dtype)])
    assert values.dtype == np.float32
    assert values.tolist() == pytest.approx(np.array([[0, 1], [25 / 95, 2 / 95]]))
    assert bounds == (5, 100)


def test_pages_share_one_range():
    (first, second), bounds = to_values([np.array([[0.0, 1.0]]), np.array([[4.0, 2.0]])])
    assert (first.tolist(), second.tolist(), bounds) == ([[0.0, 0.25]], [[1.0, 0.5]], (0.0, 4.0))


def test_nan_becomes_the_mean_and_infinity_an_end_of_the_range():
    [values], bounds = to_values([np.array([[np.nan, 0.0, 1.0, 2.0, np.inf, -np.inf]], np.float32)])
    assert values.tolist() == [[0.5, 0.0, 0.5, 1.0, 1.0, 0.0]]
    assert bounds == (0.0, 2.0)


@pytest.mark.parametrize("value", [0.0, 3.5, np.nan, np.inf])
def test_a_plane_of_one_value_becomes_0(value):
    [values], _ = to_values([np.full((3, 4), value, np.float32)])
    assert np.isfinite(values).all()
    assert len(np.unique(values)) == 1


@given(arrays.arrays(np.float64, (3, 5), elements=st.floats(width=64)))
@settings(max_examples=200, deadline=None)
def test_any_numbers_become_finite_values_in_0_to_1(plane):
    [values], _ = to_values([plane])
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 1


@pytest.mark.parametrize(
    ("dtype", "factor", "shift"), [(np.float32, 0.01, -3), (np.int32, 1000, 10**9), (float, 1e9, 0)]
)
def test_z_scored_input_does_not_depend_on_scale_and_offset(dtype, factor, shift):
    plain = GREY16.astype(np.uint16)
    [values], _ = to_values([(plain * np.float64(factor) + shift).astype(dtype)])
    preprocessing = Preprocessing(normalisation="zscore")
    before, after = (preprocessing.affine(each[:, :, None]).apply(each[:, :, None]) for each in (plain, values))
    assert np.allclose(before, after, atol=1e-3)
