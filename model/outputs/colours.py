"""Colours of classes, told apart by most colour-blind people."""

# Okabe and Ito 2008, without black: RGB.
_PALETTE = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)


def colour(value: int) -> tuple[int, int, int]:
    """RGB of a mask's value: of 255 (the only class) the first, of class indices 1, 2, ... one after the other."""
    return _PALETTE[(value - 1) % len(_PALETTE) if value != 255 else 0]
