"""Image files: their headers, checked before any decoder runs, and their pixels."""

from model.images.decoding import decode_image, decode_pages
from model.images.encoding import encode_png, encode_tiff

__all__ = ["decode_image", "decode_pages", "encode_png", "encode_tiff"]
