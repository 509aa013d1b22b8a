"""Names of formats that are not accepted, so that a refusal can say what the file is and how to convert it."""

ACCEPTED = "PNG, JPEG, TIFF, BMP and WebP are"

_MICROSCOPY = "Save it as TIFF, for example with Fiji."
_PICTURE = "Convert it to PNG, for example with ImageMagick."
DEVELOP = "Develop it to TIFF, for example with darktable."
_VIDEO = "Extract its frames as PNG, for example with ffmpeg."
_DICOM = "Convert it to PNG or TIFF, for example with dcmj2pnm or Fiji, or install the extra dicom on the server."

# First bytes of a file.
_STARTS = {
    b"GIF8": ("GIF", _PICTURE),
    b"\x00\x00\x00\x0cjP  ": ("JPEG 2000", _PICTURE),
    b"\xff\x4f\xff\x51": ("JPEG 2000", _PICTURE),
    b"\xff\x0a": ("JPEG XL", _PICTURE),
    b"\x00\x00\x00\x0cJXL ": ("JPEG XL", _PICTURE),
    b"\x76\x2f\x31\x01": ("OpenEXR", _PICTURE),
    b"#?R": ("Radiance HDR", _PICTURE),
    b"%PDF": ("PDF", _PICTURE),
    b"8BPS": ("Photoshop", _PICTURE),
    b"gimp xcf": ("GIMP XCF", _PICTURE),
    b"\x00\x00\x01\x00": ("ICO", _PICTURE),
    **{b"P%d" % kind: ("PNM", _PICTURE) for kind in range(1, 8)},
    b"ZISRAWFILE": ("Zeiss CZI", _MICROSCOPY),
    b"\xda\xce\xbe\x0a": ("Nikon ND2", _MICROSCOPY),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("An OLE file, such as Olympus OIB or Zeiss ZVI,", _MICROSCOPY),
    b"\x89HDF\r\n\x1a\n": ("HDF5, as in Imaris IMS,", _MICROSCOPY),
    b"NRRD000": ("NRRD", _MICROSCOPY),
    b"SIMPLE  =": ("FITS", _MICROSCOPY),
    b"\x93NUMPY": ("NumPy NPY", "Save it as TIFF, for example with tifffile."),
    b"FUJIFILMCCD-RAW": ("Fujifilm RAF", DEVELOP),
    b"IIRO": ("Olympus ORF", DEVELOP),
    b"IIU\x00": ("Panasonic RW2", DEVELOP),
    b"\x1a\x45\xdf\xa3": ("Matroska", _VIDEO),
    b"PK\x03\x04": ("A ZIP archive", "Unpack it and send its images one by one."),
    b"\x1f\x8b": ("A gzip file", "Decompress it first, or send it with Content-Encoding: gzip."),
    b"data:": ("A data URL", "Decode it and send the bytes."),
    b"iVBORw0KGgo": ("Base64 text", "Decode it and send the bytes."),
    b"/9j/": ("Base64 text", "Decode it and send the bytes."),
}

# Brands of the ISO base media file format, which stand behind "ftyp".
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), ("AVIF", _PICTURE)),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), ("HEIC", _PICTURE)),
    b"crx ": ("Canon CR3", DEVELOP),
}


def refusal(data: bytes) -> str | None:
    """Returns the refusal of a file whose format is known but not accepted; None if the format is not known.

    Looks only at the first kilobyte.
    """
    found = _format_of(data[:1024])
    return found and f"{found[0]} is not accepted: {ACCEPTED}. {found[1]}"


def _format_of(head: bytes) -> tuple[str, str] | None:
    """Returns the name of the format and how to convert it."""
    if head[128:132] == b"DICM":
        return "DICOM", _DICOM
    if head[344:348] in (b"n+1\x00", b"ni1\x00") or head[4:8] in (b"n+2\x00", b"ni2\x00"):
        return "NIfTI", _MICROSCOPY
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], ("MP4 video", _VIDEO))
    if head[:4] == b"\x70\x00\x00\x00" and head[8:9] == b"\x2a":
        return "Leica LIF", _MICROSCOPY
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI", _VIDEO
    if head[208:212] == b"MAP ":
        return "MRC", _MICROSCOPY
    for start, found in _STARTS.items():
        if head.startswith(start):
            return found
    return _markup(head.lstrip(b"\xef\xbb\xbf \t\r\n").lower())


def _markup(head: bytes) -> tuple[str, str] | None:
    if head.startswith((b"<!doctype html", b"<html")):
        return "An HTML page", "Send the image itself."
    if head.startswith((b"<?xml", b"<svg", b"<!doctype svg")) and b"<svg" in head:
        return "SVG", "Export it as PNG, for example with Inkscape."
    return None
