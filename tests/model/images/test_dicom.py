from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from model.images import headers
from model.images.calibration import PixelSize
from model.images.decoding import ImageFile, decode_image, decode_pages
from model.images.dicom import MAX_FRAMES, MAX_METADATA_BYTES
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from tests.support.image_files import GREY, GREY16, H, W


def dicom(pixels: np.ndarray, syntax: Any = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A file of one frame H x W, or of several N x H x W."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    encoding = {"implicit_vr": syntax == ImplicitVRLittleEndian, "little_endian": syntax != ExplicitVRBigEndian}
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.set_original_encoding(encoding["implicit_vr"], encoding["little_endian"])
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    for name, value in elements.items():
        setattr(dataset, name, value)
    big = syntax == ExplicitVRBigEndian
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, **encoding)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("pixels", [GREY[:, :-1], GREY16])
def test_grey_pixels_are_read_as_stored(pixels, syntax):
    data = dicom(pixels, syntax)
    assert (read_header(data).format, read_header(data).pixels) == ("DICOM", pixels.size)
    decoded = decode_image(data)
    assert decoded.dtype == pixels.dtype
    assert np.array_equal(decoded, pixels)


def test_every_frame_is_a_page():
    frames = np.stack([GREY16, GREY16 // 2, GREY16 // 3])
    assert np.array_equal(decode_pages(dicom(frames)), frames)


def test_signed_values_are_stretched_with_their_rescale():
    values = (GREY16 >> 2).astype(np.int16) - 5000
    decoded = ImageFile.read(dicom(values, RescaleSlope=2.0, RescaleIntercept=-1024.0)).decode()
    low, high = float(values.min()), float(values.max())
    assert decoded.value_range == (2 * low - 1024, 2 * high - 1024)
    assert np.allclose(decoded.pages[0], (values - low) / (high - low), atol=1e-6)


def test_monochrome1_is_inverted():
    assert np.array_equal(decode_image(dicom(65535 - GREY16, PhotometricInterpretation="MONOCHROME1")), GREY16)
    twelve = dicom(4095 - (GREY16 >> 4), PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    assert np.array_equal(decode_image(twelve), GREY16 >> 4)


def test_bits_that_are_not_in_use_are_ignored():
    file = ImageFile.read(dicom((GREY16 >> 4) | 0xF000, BitsStored=12))
    assert file.header.significant_bits == 12
    assert np.array_equal(file.first_page(), GREY16 >> 4)
    signed = ((GREY16 >> 4).astype(np.int32) - 2048).astype(np.int16)
    stored = (signed.view(np.uint16) & 0x0FFF).view(np.int16)
    pages = ImageFile.read(dicom(stored, BitsStored=12)).stored_pages()
    assert np.array_equal(pages[0], signed)


def test_the_size_of_a_pixel_is_read():
    data = dicom(GREY16, PixelSpacing=[0.5, 0.25], SpacingBetweenSlices=2)
    assert read_header(data).pixel_size == PixelSize(250.0, 500.0, 2000.0)
    assert read_header(dicom(GREY16)).pixel_size is None


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"PhotometricInterpretation": "RGB"}, "accepted in grey"),
        ({"SamplesPerPixel": 3}, "accepted in grey"),
        ({"BitsAllocated": 1}, "8, 16 or 32 bits"),
        ({"NumberOfFrames": MAX_FRAMES + 1}, f"more than {MAX_FRAMES} frames"),
        ({"EncapsulatedDocument": bytes(MAX_METADATA_BYTES), "NumberOfSlices": 1}, "bytes before them"),
    ],
)
def test_other_dicom_is_refused_with_a_reason(elements, message):
    with pytest.raises(UnsupportedImage, match=message):
        read_header(dicom(GREY16, **elements))


def test_compressed_pixels_are_refused_with_advice():
    data = dicom(GREY16)
    with pytest.raises(UnsupportedImage, match=r"transfer syntax 1\.2\.840\.10008\.1\.2\.5\).*gdcmconv"):
        read_header(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))


def test_a_file_without_pixels_is_refused():
    dataset = pydicom.dcmread(BytesIO(dicom(GREY16)))
    del dataset.PixelData
    buffer = BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(UnsupportedImage, match="files without pixels"):
        read_header(buffer.getvalue())


@pytest.mark.parametrize("part", [0.1, 0.2, 0.5, 0.99])
def test_a_truncated_file_is_an_error(part):
    data = dicom(GREY16)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * part)])


@pytest.mark.parametrize("name", ["Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"])
def test_a_file_that_lacks_an_element_is_an_error(name):
    dataset = pydicom.dcmread(BytesIO(dicom(GREY16)))
    delattr(dataset, name)
    buffer = BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(buffer.getvalue())


def test_without_pydicom_dicom_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(headers, "can_read_dicom", lambda: False)
    with pytest.raises(UnsupportedImage, match=r"^DICOM is not accepted.*install the extra dicom"):
        read_header(dicom(GREY16))


def test_random_damage_gives_an_image_or_an_image_error():
    random = np.random.default_rng(0)
    data = dicom(GREY16)
    for _ in range(200):
        damaged = bytearray(data)
        for place in random.integers(132, 700, 3):
            damaged[place] = random.integers(256)
        try:
            if read_header(bytes(damaged)).pixels < 10 * H * W:
                decode_image(bytes(damaged))
        except ImageError:
            pass


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept", "PixelRepresentation"])
def test_empty_elements_have_their_defaults(name):
    """`PixelRepresentation` is missing, because it cannot be empty."""
    elements = {} if name == "PixelRepresentation" else {name: None}
    data = dicom(GREY16, **elements)
    if not elements:
        dataset = pydicom.dcmread(BytesIO(data))
        del dataset.PixelRepresentation
        buffer = BytesIO()
        dataset.save_as(buffer)
        data = buffer.getvalue()
    assert np.array_equal(decode_image(data), GREY16)
