"""A person's hand at the picture of a page, and what it should leave in the mask."""

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, expect


class Hand:
    """Draws with the tools of the page; places are the middles of pixels (x, y) of the whole image.

    Args:
        page: A page that shows all of an image.
        size: The image's height and width in pixels.
    """

    def __init__(self, page: Page, size: tuple[int, int]) -> None:
        self._page, self._size = page, size

    def use(self, tool: str, size: int | None = None) -> None:
        """Chooses a tool and its size in pixels; shows the tools first if they are hidden."""
        if self._page.locator("#tools").is_hidden():
            self._page.click("#correct")
        self._page.locator("#tool-choice").get_by_text(tool, exact=True).click()
        expect(self._page.locator("#tools")).to_have_attribute("aria-busy", "false")
        if size is not None:
            self._page.locator("#tool-size").fill(str(size))

    def draw(self, *pixels: tuple[int, int]) -> None:
        """Presses at the first pixel, moves to the others, and releases."""
        places = self.places(*pixels)
        self._page.mouse.move(*places[0])
        self._page.mouse.down()
        for place in places[1:]:
            self._page.mouse.move(*place)
        self._page.mouse.up()

    def places(self, *pixels: tuple[int, int]) -> list[tuple[float, float]]:
        """Where pixels are on the screen."""
        box = self._page.locator("#canvas").bounding_box()
        assert box is not None
        height, width = self._size
        scale = min(box["width"] / width, box["height"] / height)
        left = box["x"] + box["width"] / 2 - width / 2 * scale
        top = box["y"] + box["height"] / 2 - height / 2 * scale
        return [(left + (x + 0.5) * scale, top + (y + 0.5) * scale) for x, y in pixels]


def line(shape: tuple[int, int], size: float, *points: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns the pixels, H x W, whose middle is within half of `size` of a line through middles of pixels (x, y)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    drawn = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] or points, strict=False):
        along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / (((x1 - x0) ** 2 + (y1 - y0) ** 2) or 1)
        along = np.clip(along, 0, 1)
        drawn |= np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)) <= size / 2 + 1e-9
    return drawn
