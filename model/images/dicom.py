"""DICOM files of grey images: their header, checked before any pixel is read, and their frames.

Needs pydicom, which is an extra. Only pixels that are stored without compression are read.

Shape letters: H height, W width.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.images.calibration import PixelSize, pixel_size
from model.images.image_errors import ImageError, UnsupportedImage, broken

# pydicom takes about a second to read this much, whatever is in it.
MAX_METADATA_BYTES = 2**20
MAX_FRAMES = 4096

_START = slice(128, 132)
_PIXEL_DATA = {"<": b"\xe0\x7f\x10\x00", ">": b"\x7f\xe0\x00\x10"}
# Pixels without compression, by transfer syntax: byte order, and whether each element names its type.
_PLAIN = {
    "1.2.840.10008.1.2": ("<", False),
    "1.2.840.10008.1.2.1": ("<", True),
    "1.2.840.10008.1.2.2": (">", True),
}
_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices"),
)


@dataclass(frozen=True)
class DicomImage:
    """The properties of a DICOM image, and where its pixels are.

    Attributes:
        width: Pixels of a row.
        height: Rows of a frame.
        frames: Number of frames.
        dtype: The type of the stored numbers.
        bits: Bits in use of each number.
        inverted: True if the lowest value is white (MONOCHROME1).
        slope: Factor from stored numbers to values.
        intercept: Value of the stored number 0.
        first_byte: The offset of the first frame.
        pixel_size: None if the file does not say it.
    """

    width: int
    height: int
    frames: int
    dtype: np.dtype[Any]
    bits: int
    inverted: bool
    slope: float
    intercept: float
    first_byte: int
    pixel_size: PixelSize | None

    @property
    def pixels(self) -> int:
        """Pixels of all frames."""
        return self.frames * self.height * self.width


def is_dicom(data: bytes) -> bool:
    """True if the file is DICOM by its first bytes."""
    return data[_START] == b"DICM"


def can_read_dicom() -> bool:
    """True if pydicom is installed."""
    return find_spec("pydicom") is not None


def read_dicom(data: bytes) -> DicomImage:
    """Reads the header of a file. Raises ImageError; UnsupportedImage if its pixels are not read here."""
    dataset, syntax, at = _metadata(data)
    if syntax not in _PLAIN:
        raise UnsupportedImage(
            f"DICOM files with compressed pixels (transfer syntax {syntax[:40]}) are not accepted: "
            "decompress them, for example with gdcmconv --raw."
        )
    order, has_types = _PLAIN[syntax]
    if data[at : at + 4] != _PIXEL_DATA[order]:
        raise UnsupportedImage(
            f"DICOM files without pixels, or with more than {MAX_METADATA_BYTES} bytes before them, are not accepted."
        )
    image = _image(dataset, order, at + (12 if has_types else 8))
    if image.first_byte + image.pixels * image.dtype.itemsize > len(data):
        raise broken("DICOM")
    return image


def decode_dicom(data: bytes, image: DicomImage, count: int) -> list[NDArray[Any]]:
    """Decodes the first `count` frames.

    Returns:
        H x W each: the stored whole numbers, or float64 values if the file rescales them. 0 or the lowest value is
        black.
    """
    pixels = image.width * image.height
    numbers = np.frombuffer(data, image.dtype, count * pixels, image.first_byte)
    frames = numbers.reshape(count, image.height, image.width)
    return [_values(frame, image) for frame in frames]


def _metadata(data: bytes) -> tuple[Any, str, int]:
    """The elements that matter, the transfer syntax, and the offset of the pixel data."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # its warnings contain text from the file
    stream = BytesIO(data[:MAX_METADATA_BYTES])
    try:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS))
        return dataset, str(dataset.file_meta.TransferSyntaxUID), stream.tell()
    except Exception as error:  # over broken files it raises nearly anything
        raise broken("DICOM") from error


def _number(dataset: Any, name: str, otherwise: float) -> float:
    """An element's number; `otherwise` if it is missing or empty."""
    value = dataset.get(name)
    return otherwise if value in (None, "") else float(value)


def _image(dataset: Any, order: str, first_byte: int) -> DicomImage:
    """Raises ImageError, UnsupportedImage."""
    try:
        allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
        signed = bool(_number(dataset, "PixelRepresentation", 0))
        image = DicomImage(
            width=int(dataset.Columns),
            height=int(dataset.Rows),
            frames=int(dataset.get("NumberOfFrames") or 1),
            dtype=_dtype(order, signed, allocated),
            bits=stored,
            inverted=str(dataset.PhotometricInterpretation) == "MONOCHROME1",
            slope=_number(dataset, "RescaleSlope", 1.0),
            intercept=_number(dataset, "RescaleIntercept", 0.0),
            first_byte=first_byte,
            pixel_size=_pixel_size(dataset),
        )
        colours = str(dataset.PhotometricInterpretation), int(dataset.get("SamplesPerPixel", 1))
    except Exception as error:  # elements are read when they are asked for
        raise broken("DICOM") from error
    if colours not in (("MONOCHROME1", 1), ("MONOCHROME2", 1)) or image.dtype.kind == "V":
        raise UnsupportedImage("DICOM files are accepted in grey (MONOCHROME1 or 2) with 8, 16 or 32 bits.")
    if image.frames > MAX_FRAMES:
        raise UnsupportedImage(f"DICOM files of more than {MAX_FRAMES} frames are not accepted.")
    whole = image.width > 0 and image.height > 0 and image.frames > 0 and 0 < stored <= allocated
    if not (whole and np.isfinite(image.slope) and np.isfinite(image.intercept)):
        raise ImageError("The DICOM file is broken or truncated.")
    return image


def _dtype(order: str, signed: bool, bits: int) -> np.dtype[Any]:
    """The type of stored numbers; void if their number of bits is not read here."""
    return np.dtype(f"{order}{'i' if signed else 'u'}{bits // 8}" if bits in (8, 16, 32) else "V")


def _values(frame: NDArray[Any], image: DicomImage) -> NDArray[Any]:
    unused = 8 * image.dtype.itemsize - image.bits
    numbers = frame.astype(image.dtype.newbyteorder("="))
    if unused and image.dtype.kind == "u":
        numbers = numbers & numbers.dtype.type(2**image.bits - 1)
    elif unused:  # the sign is the highest bit in use
        numbers = (numbers << unused) >> unused
    if (image.slope, image.intercept) != (1.0, 0.0):
        numbers = numbers * image.slope + image.intercept
    if not image.inverted:
        return numbers
    if numbers.dtype.kind == "u":
        inverted: NDArray[Any] = np.subtract(2**image.bits - 1, numbers, dtype=numbers.dtype)
        return inverted
    return -numbers.astype(np.float64)


def _pixel_size(dataset: Any) -> PixelSize | None:
    """From row and column spacing in millimetres."""
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if not spacing or len(spacing) != 2:
        return None
    down, across = (float(each) for each in spacing)
    return pixel_size(across, down, float(dataset.get("SpacingBetweenSlices") or 0.0), "mm")
