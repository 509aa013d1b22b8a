"""`python post_requests.py URL IMAGE MASK`: posts an image in a form, and writes the mask."""

import sys
from pathlib import Path

import requests

address, image, mask = sys.argv[1:]
response = requests.post(address, files={"file": Path(image).read_bytes()}, timeout=60)
response.raise_for_status()
Path(mask).write_bytes(response.content)
