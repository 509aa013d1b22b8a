"""Trains like `monai_tutorial`, but with crops of 256 pixels, one of each image.

The tutorial's crops of 96 pixels suit its synthetic images of 128 pixels; larger objects need more of the image.
"""

from benchmarks.peers.monai_tutorial import Crops, run_with

if __name__ == "__main__":
    run_with(Crops(side=256, per_image=1))
