"""Volumes, or single sections, that are larger than memory: read, planned and written piece by piece.

The packages zarr and tifffile (the extra `volumes`) are imported only here.
"""
