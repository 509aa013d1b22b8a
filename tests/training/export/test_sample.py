from pathlib import Path

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.images.image_errors import ImageError
from model.inputs.preprocessing import Preprocessing
from model.unet import UNetConfig
from model.weights_file import Description
from training.export import sample


def _describe(channels: str = "grey", **config: int) -> Description:
    preprocessing = Preprocessing.model_validate({"channels": channels})
    return Description(name="net", architecture=UNetConfig(**config), preprocessing=preprocessing)


def test_without_a_file_it_is_the_middle_of_the_projects_example():
    example = decode_image(sample.EXAMPLE.read_bytes())
    assert np.array_equal(sample.choose(_describe(), None)[:, :, 0], example[128:384, 128:384])


def test_without_an_example_one_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sample, "EXAMPLE", Path("nowhere.png"))
    image = sample.choose(_describe(), None)
    assert image.shape == (256, 256, 1)
    assert image.std() > 10


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_a_net_of_any_number_of_channels_gets_that_many(channels: int):
    description = _describe(channels="stored", in_channels=channels)
    assert sample.choose(description, None).shape == (256, 256, channels)


def test_a_side_is_a_multiple_of_the_nets_stride():
    assert sample.choose(_describe(depth=7, width=1), None).shape == (256, 256, 1)


def test_a_small_image_is_mirrored_at_its_edges(tmp_path: Path):
    pixels = np.arange(30 * 300, dtype=np.uint16).reshape(30, 300)
    (tmp_path / "small.png").write_bytes(encode_png(pixels))
    image = sample.choose(_describe(), tmp_path / "small.png")[:, :, 0]
    assert image.dtype == np.uint16
    assert np.array_equal(image[:30], pixels[:, 22:278])
    assert np.array_equal(image[30:60], pixels[::-1, 22:278])


def test_an_image_of_other_channels_than_the_nets_is_refused(tmp_path: Path):
    (tmp_path / "grey.png").write_bytes(encode_png(np.zeros((20, 20), np.uint8)))
    description = _describe(channels="stored", in_channels=3)
    with pytest.raises(ImageError, match=r"grey\.png: the net takes 3 channels, the image has 1"):
        sample.choose(description, tmp_path / "grey.png")


def test_the_bioimageio_cover_shows_the_stretched_image_and_its_mask():
    image = np.linspace(100, 150, 64 * 64).reshape(64, 64, 1).astype(np.uint8)
    mask = np.repeat(np.array([[0, 255]], np.uint8), 64, axis=0).repeat(32, axis=1)
    cover = sample.cover(image, mask)
    assert cover.shape == (64, 128, 3)
    assert (cover[:, :64].min(), cover[:, :64].max()) == (0, 255)
    assert np.array_equal(cover[:, 64:, 1], mask)


def test_the_classes_of_a_cover_have_colours():
    mask = np.arange(3, dtype=np.uint8).repeat(3).reshape(3, 3)
    cover = sample.cover(np.zeros((3, 3, 3), np.uint16), mask)
    assert len(np.unique(cover[:, 3:].reshape(-1, 3), axis=0)) == 3
    assert not cover[0, 3:].any()
