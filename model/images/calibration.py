"""The size of pixels in the world, as microscopes and scanners store it."""

from dataclasses import dataclass

MICROMETRE = "\u00b5m"

# Sizes beyond these are mistakes of the program that wrote the file, micrometres: a picometre, 10 metres. TIFF files
# cannot store much smaller ones.
SMALLEST, LARGEST = 1e-6, 1e7

# Micrometres of each unit. Keys are in lower case.
_MICROMETRES = {
    **dict.fromkeys(("\u00b5m", "\u03bcm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("pm", "picometer", "picometre"), 1e-6),
    **dict.fromkeys(("\u00e5", "\u212b", "angstrom"), 1e-4),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch", "inches"), 25_400.0),
}


@dataclass(frozen=True)
class PixelSize:
    """Width and height of a pixel, and the distance between sections of a stack, micrometres; z is 0 if unknown."""

    x: float
    y: float
    z: float = 0.0


def to_micrometres(length: float, unit: str) -> float:
    """Returns the length in micrometres; 0.0 if the unit is no length that is known here."""
    return length * _MICROMETRES.get(unit.strip().lower(), 0.0)


def pixel_size(x: float, y: float, z: float, unit: str) -> PixelSize | None:
    """Returns the size in micrometres; None for an unknown unit, or if x or y is no size that a pixel can have."""
    scale = _MICROMETRES.get(unit.strip().lower(), 0.0)
    across, down, apart = x * scale, y * scale, z * scale
    if not (SMALLEST <= across <= LARGEST and SMALLEST <= down <= LARGEST):
        return None
    return PixelSize(across, down, apart if SMALLEST <= apart <= LARGEST else 0.0)
