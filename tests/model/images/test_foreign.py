"""Files of formats that are not accepted are named in the refusal."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from model.images import headers
from model.images.foreign import refusal
from model.images.headers import format_of
from model.images.image_errors import ImageError, UnsupportedImage


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 3)))
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"x")
    return buffer.getvalue()


FILES = {
    "GIF": b"GIF89a\x01\x00",
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "JPEG XL": b"\xff\x0a\xfa\x1f",
    "PNM": b"P5\n2 2\n255\n",
    "DICOM": bytes(128) + b"DICM" + bytes(20),
    "NIfTI": b"\x5c\x01\x00\x00" + bytes(340) + b"n+1\x00",
    "NIfTI ": b"\x1c\x02\x00\x00n+2\x00\r\n\x1a\n",
    "HEIC": b"\x00\x00\x00\x18ftypheic" + bytes(20),
    "AVIF": b"\x00\x00\x00\x1cftypavif" + bytes(20),
    "Canon CR3": b"\x00\x00\x00\x18ftypcrx " + bytes(20),
    "MP4 video": b"\x00\x00\x00\x18ftypisom" + bytes(20),
    "Zeiss CZI": b"ZISRAWFILE" + bytes(20),
    "Nikon ND2": b"\xda\xce\xbe\x0a" + bytes(20),
    "Leica LIF": b"\x70\x00\x00\x00\x10\x00\x00\x00\x2a" + bytes(20),
    "MRC": bytes(208) + b"MAP \x44\x44\x00\x00",
    "NRRD": b"NRRD0005\n",
    "NumPy NPY": _npy(),
    "A ZIP archive": _zip(),
    "A gzip file": gzip.compress(b"nii"),
    "SVG": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "SVG ": b"  <SVG/>",
    "An HTML page": b"<!DOCTYPE html><html>",
    "A data URL": b"data:image/png;base64,iVBORw0KGgo=",
    "Base64 text": b"iVBORw0KGgoAAAANSUhEUg",
    "AVI": b"RIFF\x00\x00\x00\x00AVI LIST",
}


@pytest.mark.parametrize("name", FILES)
def test_a_known_format_is_refused_by_name_with_advice(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(headers, "can_read_dicom", lambda: False)
    with pytest.raises(UnsupportedImage) as caught:
        format_of(FILES[name])
    message = str(caught.value)
    assert message.startswith(name.strip())
    assert " is not accepted: PNG, JPEG, TIFF, BMP and WebP are. " in message
    assert message.endswith(".")


@pytest.mark.parametrize("data", [b"hello", b"<?xml version='1.0'?><root/>", bytes(2000), b"\x89PNX", b"DICM"])
def test_other_bytes_are_no_image(data: bytes):
    assert refusal(data) is None
    with pytest.raises(ImageError, match=r"^The file is not an image"):
        format_of(data)


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"\xff\xd8\xff\xe0"])
def test_dicom_with_the_preamble_of_another_format_is_dicom(start: bytes, monkeypatch: pytest.MonkeyPatch):
    assert format_of(start + bytes(124) + b"DICM" + bytes(100)) == "DICOM"
    monkeypatch.setattr(headers, "can_read_dicom", lambda: False)
    with pytest.raises(UnsupportedImage, match=r"^DICOM is not accepted"):
        format_of(start + bytes(124) + b"DICM" + bytes(100))
