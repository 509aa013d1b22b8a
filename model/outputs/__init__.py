"""Outputs of an image: masks, objects and pictures, as the bytes of a file."""
