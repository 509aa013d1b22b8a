import numpy as np
import pytest

from model.packages.packaged_weights import load_package
from tests.support.packages import tensor_in, tensor_out


def _step(name, **arguments):
    return {"name": name, "kwargs": arguments}


@pytest.fixture
def prepare(packed):
    """Returns the input of the net for an image of 8 or 16 bits."""

    def run(steps, image, **fields):
        path = packed(inputs=[tensor_in(preprocessing=steps, **fields)])
        preprocessing = load_package(path).description.preprocessing
        pixels = preprocessing.arrange(image)
        return preprocessing.affine(pixels, 16).apply(pixels)[0]

    return run


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_statistics_are_those_of_the_whole_image(prepare, make_image, dtype):
    image = make_image(70, 90, dtype=dtype)
    x = image.astype(np.float64)
    scored = prepare([_step("zero_mean_unit_variance", axes="xy", mode="per_sample")], image)
    assert np.allclose(scored, (x - x.mean()) / (x.std() + 1e-6), atol=1e-5)
    low, high = np.percentile(x, (1, 99.8))
    step = _step("scale_range", axes="xy", mode="per_sample", min_percentile=1, max_percentile=99.8)
    assert np.allclose(prepare([step], image), (x - low) / (high - low + 1e-6), atol=1e-5)


def test_fixed_numbers_follow_each_other(prepare, make_image):
    image = make_image(20, 30)
    steps = [_step("scale_linear", gain=2.0, offset=-10.0), _step("clip", min=-1.0, max=100.0)]
    assert np.allclose(prepare(steps, image), np.clip(image * 2.0 - 10.0, -1, 100), atol=1e-4)
    steps = [
        _step("scale_range", axes="xy", mode="per_sample"),
        _step("scale_linear", gain=2.0, offset=-1.0),
        _step("clip", max=0.5),
    ]
    unit = (image - float(image.min())) / (float(image.max()) - float(image.min()) + 1e-6)
    assert np.allclose(prepare(steps, image), np.minimum(2 * unit - 1, 0.5), atol=1e-5)


@pytest.mark.parametrize(
    ("bounds", "data_type", "scale"),
    [
        ([0, 255], "uint8", 1 / 257),
        ([0, 1], "float32", 1 / 65535),
        ([0, 65535], "uint16", 1),
        ([-float("inf"), float("inf")], "float32", 1),
        (None, "uint8", 1 / 257),
    ],
)
def test_the_range_of_the_data_decides_the_scale(prepare, make_image, bounds, data_type, scale):
    image = make_image(20, 30, dtype=np.uint16)
    found = prepare([], image, data_range=bounds, data_type=data_type)
    assert np.allclose(found, image * scale, rtol=1e-6)


def test_means_of_0_to_1_belong_to_pixels_of_0_to_1(prepare, make_image):
    image = make_image(20, 30)
    step = _step("zero_mean_unit_variance", axes="xy", mode="fixed", mean=[0.48], std=[0.23])
    found = prepare([step], image, data_range=None, data_type="float32")
    assert np.allclose(found, (image / 255 - 0.48) / (0.23 + 1e-6), atol=1e-5)


@pytest.mark.parametrize(
    ("steps", "named", "reason"),
    [
        ([_step("zero_mean_unit_variance", axes="xy", mode="per_dataset")], ".axes: ", "not in the package"),
        ([_step("scale_linear", gain=2.0), _step("scale_range", axes="xy", mode="per_sample")], "", "the first step"),
        ([_step("scale_range", axes="xy", mode="per_sample", reference_tensor="other")], ".reference_tensor", "none"),
        ([_step("scale_range", axes="xy", mode="per_sample", min_percentile=9, max_percentile=9)], "", "rising"),
        ([_step("clip", min_percentile=1)], "", "no percentiles"),
        ([_step("clip", min=0), _step("scale_linear", gain=2.0)], "", "no scaling after clip"),
        ([_step("scale_linear", gain=0.0)], "", "divides by 0"),
        ([_step("scale_linear", gain="much")], ".gain: much", "finite numbers"),
        ([_step("scale_linear", gain=[1.0, 2.0])], "", "one number or 1"),
        ([_step("binarize", threshold=0.5)], "", "accepted: ensure_dtype, scale_linear"),
    ],
)
def test_preprocessing_that_cannot_be_honoured_is_named(refused, steps, named, reason):
    message = refused(inputs=[tensor_in(preprocessing=steps)])
    assert message.startswith(f"inputs.input0.preprocessing.{steps[-1]['name']}{named}")
    assert reason in message


def test_binarize_becomes_the_threshold(packed):
    output = tensor_out(postprocessing=[_step("binarize", threshold=0.4)])
    threshold = np.float32(load_package(packed(outputs=[output])).description.threshold)
    assert np.nextafter(threshold, np.float32(0)) == np.float32(0.4) < threshold


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (_step("scale_range", axes="xy", mode="per_sample"), "accepted: sigmoid, softmax, binarize"),
        (_step("binarize", threshold=1.0), ".threshold: 1; accepted: between 0 and 1"),
        (_step("cellpose_flow_dynamics"), "accepted: sigmoid, softmax, binarize"),
    ],
)
def test_postprocessing_that_cannot_be_honoured_is_named(refused, step, reason):
    message = refused(outputs=[tensor_out(postprocessing=[step])])
    assert message.startswith(f"outputs.output0.postprocessing.{step['name']}")
    assert reason in message
