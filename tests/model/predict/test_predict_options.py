import pytest

from model.predict.predict_options import parse


@pytest.mark.parametrize(
    ("text", "address", "inputs"),
    [
        ("a.png", None, ["a.png"]),
        ("--ray a.png b.png", "", ["a.png", "b.png"]),
        ("a.png --ray", "", ["a.png"]),
        ("--ray head:6379 a.png", "head:6379", ["a.png"]),
        ("--ray ray://10.0.0.1:10001 a.png", "ray://10.0.0.1:10001", ["a.png"]),
        ("--ray=head:6379 a.png", "head:6379", ["a.png"]),
        ("--ray local a.png", "local", ["a.png"]),
    ],
)
def test_an_input_after_the_ray_option_is_not_its_address(text, address, inputs):
    arguments = parse(["--out", "out", *text.split()])
    assert (arguments.ray, arguments.inputs) == (address, inputs)
