"""The public client of the Imaging Server Kit against a real server: all results are those of `/segment`."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from model.images.decoding import decode_pages
from model.inputs.preprocessing import Pixels
from tests.end_to_end.http import HTTP
from tests.support.server_kit import tiff

pytestmark = [pytest.mark.usefixtures("still_serving"), pytest.mark.filterwarnings("ignore::Warning")]


@pytest.fixture(scope="module")
def kit() -> Iterator[Any]:
    """The client's package. It downloads a picture when it is imported, which no test uses."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(skimage.data, "brain", lambda: np.zeros((2, 4, 4), np.uint16), raising=False)
        import imaging_server_kit

        yield imaging_server_kit


@pytest.fixture(scope="module")
def client(kit: Any, server: Any) -> Any:
    return kit.Client(server.url)


def _segmented(server: Any, array: NDArray[Any], output: str = "mask", **options: Any) -> NDArray[Any]:
    """The pages that `/segment` gives for a file."""
    answer = HTTP.post(f"{server.url}/segment", params={"output": output}, files={"file": tiff(array, **options)})
    assert answer.status_code == 200, answer.text
    return np.stack(decode_pages(answer.content))


@pytest.fixture(scope="module")
def sections(pixels: Pixels) -> NDArray[Any]:
    """Three sections."""
    return np.stack([np.roll(pixels, 11 * shift, axis=0) for shift in range(3)])


def _images(pixels: Pixels, sections: NDArray[Any]) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    """Arrays, and how the same pixels are written as a file for `/segment`."""
    colours = np.moveaxis(sections, 0, -1)
    pages = {"photometric": "minisblack"}
    return {
        "grey": (pixels, {}),
        "16 bits": (pixels.astype(np.uint16) * 16, {}),
        "RGB": (colours, {"photometric": "rgb"}),
        "RGBA": (np.dstack([colours, pixels]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        "float32": (pixels.astype(np.float32) / 7 - 3, {}),
        "float64": (pixels.astype(np.float64) / 7, {}),
        "booleans": (pixels > 100, {}),
        "one page": (pixels[None], pages),
        "stack of two": (sections[:2], pages),
        "stack of three": (sections, pages),
        "stack of three, float32": (sections.astype(np.float32), pages),
        "times and sections": (np.stack([sections, sections[::-1]]), pages),
        "stack of RGB": (np.stack([colours, colours[::-1]]), {"photometric": "rgb"}),
    }


def test_the_client_lists_nets_and_their_parameters(client: Any):
    assert client.algorithms == ["small-net"]
    assert client.get_signature_params() == ["image", "output", "threshold", "min_area", "channel"]
    assert client.get_n_samples() == 0
    assert client.is_tileable() is False


def test_masks_are_those_of_segment(server: Any, client: Any, pixels: Pixels, sections: NDArray[Any]):
    for name, (array, options) in _images(pixels, sections).items():
        (layer,) = client.run(array)
        expected = _segmented(server, array, **options)
        colours = array.ndim > 2 and array.shape[-1] in (3, 4)
        assert layer.data.shape == (array.shape[:-1] if colours else array.shape), name
        assert np.array_equal(layer.data.reshape(expected.shape), expected), name
        assert layer.data.dtype == np.uint8
        assert set(layer.position) == {0.0}
        assert len(layer.position) == layer.data.ndim


@pytest.mark.parametrize(("output", "kind"), [("instances", "mask"), ("probability", "image")])
def test_other_arrays_are_those_of_segment(server: Any, client: Any, sections: NDArray[Any], output: str, kind: str):
    (layer,) = client.run(sections, output=output)
    assert layer.kind == kind
    assert np.array_equal(layer.data, _segmented(server, sections, output, photometric="minisblack"))


def test_parameters_change_the_result(server: Any, client: Any, pixels: Pixels):
    (layer,) = client.run(pixels, "instances", threshold=0.6, min_area=20)
    params: dict[str, str | float] = {"output": "instances", "threshold": 0.6, "min_area": 20}
    answer = HTTP.post(f"{server.url}/segment", params=params, files={"file": tiff(pixels)})
    assert np.array_equal(layer.data, decode_pages(answer.content)[0])
    assert list(layer.meta["features"]["label"]) == list(range(1, layer.data.max() + 1))


def test_objects_are_boxes_and_points(client: Any, pixels: Pixels, sections: NDArray[Any]):
    for image, dimensions in ((pixels, 2), (sections, 3)):
        (ids,), (boxes,), (points,) = (client.run(image, output=name) for name in ("instances", "boxes", "points"))
        count = sum(page.max() for page in ids.data.reshape(-1, *pixels.shape))
        assert boxes.data.shape == (count, 4, dimensions)
        assert points.data.shape == (count, dimensions)
        assert (boxes.data.min(axis=1) <= points.data).all()
    for name in ("boxes", "points"):
        (none,) = client.run(pixels, output=name, min_area=10**6)
        assert none.data is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"threshold": 2.0}, "Parameter threshold: Input should be less than 1."),
        ({"output": "tracks"}, "Parameter output: Input should be 'mask'"),
        ({"channel": "red"}, "The image has no channel 'red'."),
    ],
)
def test_wrong_values_reach_the_user_in_words(client: Any, pixels: Pixels, values: Any, said: str):
    with pytest.raises(Exception, match=said) as caught:
        client.run(pixels, **values)
    assert type(caught.value).__name__ == "InvalidAlgorithmParametersError"


def test_limits_reach_the_user_in_words(client: Any):
    with pytest.raises(Exception, match=r"413\nResponse: .*The body is larger than 200000 bytes"):
        client.run(np.zeros((500, 500), np.uint8))


def test_the_key_is_in_the_url(kit: Any, locked_server: Any, pixels: Pixels):
    with pytest.raises(Exception, match=r"401\nResponse: .*A valid key is needed"):
        kit.Client(locked_server.url).run(pixels)
    client = kit.Client(locked_server.url.replace("://", "://any:second@"))
    assert client.run(pixels)[0].data.shape == pixels.shape


def test_the_schema_is_the_one_that_the_kits_server_makes(kit: Any, client: Any):
    ours = client.get_parameters()["properties"]
    layers = {
        "image": kit.Image(name="Image", dimensionality=[2, 3, 4, 5]),
        "output": kit.Choice(name="Output", items=ours["output"]["enum"], default="mask"),
        "threshold": kit.Float(name="Threshold", min=0.01, max=0.99, step=0.05, default=0.4),
        "min_area": kit.Integer(name="Smallest object", min=0, max=1_000_000),
        "channel": kit.String(name="Channel"),
    }
    for name, layer in layers.items():
        layer.meta["description"] = ours[name]["description"]

    def run(image: Any, output: Any, threshold: Any, min_area: Any, channel: Any) -> list[Any]:
        return [image, output, threshold, min_area, channel]

    theirs = kit.Algorithm(run, layers, name="net")
    for name, expected in theirs.get_parameters()["properties"].items():
        known = {key: value for key, value in ours[name].items() if key not in ("minimum", "maximum")}
        assert known == expected, name
