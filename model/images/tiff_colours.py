"""Turns the samples of a TIFF page into grey or colours in which 0 is black.

Shape letters: H height, W width, S samples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.images.image_errors import broken
from model.images.tiff_pages import COLOUR_MAP, EXTRA_SAMPLES, INKS, PALETTE, UNSIGNED, WHITE_IS_ZERO, YCBCR, Page

_PREMULTIPLIED = 1
# From what an Orientation stores to what is shown: transposed, then upside down, then mirrored.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def to_pixels(samples: NDArray[Any], page: Page, sample: int | None) -> NDArray[Any]:
    """Converts the samples of a page.

    Args:
        samples: H x W x S as stored.
        page: The tags of the page.
        sample: The sample to return for a page whose samples are pictures of their own; None for all.

    Returns:
        H x W, H x W x 3 (RGB) or H x W x 4 (RGBA), contiguous. Whole numbers of fewer than 8 bits become 8 bits.
    """
    return np.ascontiguousarray(turned(_converted(samples, page, sample), page.orientation))


def palette_colours(page: Page) -> NDArray[np.uint8]:
    """Returns the colours of a page's palette, N x 3 (RGB). Some programs store colours of 8 bits in its 16 bits.

    Raises ImageError if there are fewer than 2^bits of them.
    """
    size = 2**page.bits
    values = np.array(page.directory.integers(COLOUR_MAP, 3 * size), np.uint16)
    if values.size != 3 * size:
        raise broken("TIFF")
    return (values >> 8 if values.max(initial=0) > 255 else values).astype(np.uint8).reshape(3, size).T


def _converted(samples: NDArray[Any], page: Page, sample: int | None) -> NDArray[Any]:
    if page.photometric == PALETTE:
        return _looked_up(samples[:, :, 0], page)
    if page.photometric == INKS:
        return _without_inks(samples[:, :, :4])
    if page.photometric == YCBCR:  # its decoders give RGB
        return samples[:, :, :3]
    pixels = _from_black(_of_whole_bytes(samples, page.bits), page)
    if page.colours == 3:
        return _with_alpha(pixels[:, :, : 4 if page.samples == 4 or page.alpha else 3], page)
    if sample is not None:
        return pixels[:, :, sample]
    if page.alpha and page.samples == 2:
        return _with_alpha(pixels[:, :, [0, 0, 0, 1]], page)
    return pixels[:, :, 0]


def _of_whole_bytes(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Spreads fewer than 8 bits over 0 to 255."""
    if bits >= 8:
        return samples
    levels = np.rint(np.arange(2**bits) * (255 / (2**bits - 1))).astype(np.uint8)
    return np.take(levels, samples.astype(np.uint8))


def _from_black(samples: NDArray[Any], page: Page) -> NDArray[Any]:
    """Makes 0 black where white is 0; numbers without a fixed range change their sign."""
    if page.photometric != WHITE_IS_ZERO:
        return samples
    if page.sample_format == UNSIGNED and page.bits <= 16:
        inverted: NDArray[Any] = np.subtract(2 ** max(8, page.bits) - 1, samples, dtype=samples.dtype)
        return inverted
    return -samples.astype(np.float64)


def _looked_up(indices: NDArray[Any], page: Page) -> NDArray[np.uint8]:
    """Replaces the indices of a palette by its colours."""
    looked_up: NDArray[np.uint8] = np.take(palette_colours(page), indices.astype(np.uint16), axis=0)
    return looked_up


def _without_inks(inks: NDArray[Any]) -> NDArray[Any]:
    """CMYK -> RGB, by Pillow's formula: light that neither black nor the ink takes away."""
    full = np.iinfo(inks.dtype).max
    light = (full - inks).astype(np.float32)
    rgb: NDArray[Any] = np.rint(light[:, :, :3] * light[:, :, 3:] / np.float32(full)).astype(inks.dtype)
    return rgb


def _with_alpha(pixels: NDArray[Any], page: Page) -> NDArray[Any]:
    """Divides colours by their opacity if they were stored multiplied by it."""
    premultiplied = page.directory.integers(EXTRA_SAMPLES)[:1] == (_PREMULTIPLIED,)
    if pixels.shape[2] < 4 or not premultiplied or pixels.dtype not in (np.uint8, np.uint16):
        return pixels
    full, alpha = np.iinfo(pixels.dtype).max, np.maximum(pixels[:, :, 3:], 1).astype(np.float32)
    divided = np.minimum(pixels[:, :, :3] * (np.float32(full) / alpha), full).astype(pixels.dtype)
    return np.concatenate([divided, pixels[:, :, 3:]], axis=2)


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns stored pixels, H x W (x S), as a TIFF's Orientation asks for; unknown orientations are as 1, upright."""
    transposed, flipped, mirrored = _TURNS.get(orientation, _TURNS[1])
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1]
