import pytest

from model.packages.layouts import are_colours
from model.packages.packaged_weights import load_package
from tests.support.packages import tensor_in, tensor_out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"axes": "bczyx", "shape": {"min": [1, 1, 16, 16, 16], "step": [0, 0, 8, 8, 8]}},
            "inputs.input0.axes: batch, channel, z, y, x; accepted: batch, channel, y, x, in any order",
        ),
        (
            {"shape": {"min": [1, 1, 60, 60], "step": [0, 0, 16, 16]}},
            "inputs.input0.axes: min 60 is not a multiple of step 16, as it must be",
        ),
        (
            {"shape": [1, 1, 256, 512]},
            "inputs.input0.axes: y and x have sizes (256, 0) and (512, 0); accepted: the same sizes",
        ),
        (
            {"shape": {"min": [1, 1, 64, 64], "step": [0, 1, 16, 16]}},
            "inputs.input0.axes.channel: accepted: 1 to 256 channels, a fixed number",
        ),
    ],
)
def test_inputs_that_are_no_images_are_refused(refused, fields, message):
    assert refused(inputs=[tensor_in(**fields)]) == message


def test_several_inputs_are_refused_by_name(refused):
    message = refused(inputs=[tensor_in(), tensor_in(name="time")])
    assert message == "inputs: 2 tensors (input0, time); accepted: one"


@pytest.mark.parametrize(
    "shape",
    [
        {"reference_tensor": "input0", "scale": [1, 1, 2, 2], "offset": [0, 0, 0, 0]},
        {"reference_tensor": "input0", "scale": [1, 1, 1, 1], "offset": [0, 0, -8, -8]},
        [1, 1, 256, 256],
    ],
)
def test_outputs_of_another_size_are_refused(refused, shape):
    message = refused(outputs=[tensor_out(shape=shape)])
    assert message == "outputs.output0.axes.y: accepted: an output of the size of the input"


def test_steps_of_height_and_width_may_differ(packed):
    shape = {"min": [1, 1, 64, 96], "step": [0, 0, 16, 32]}
    net = load_package(packed(inputs=[tensor_in(shape=shape)])).net
    assert (net.smallest, net.step, net.grid) == (96, 32, 32)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Red", "Green", "Blue"), True),
        (("channel0", "channel1", "channel2"), True),
        (("DAPI", "actin", "tubulin"), False),
        (("channel0", "channel1"), False),
    ],
)
def test_colours_are_known_by_their_names(names, expected):
    assert are_colours(names) is expected
