"""`python -m training.synthetic --out DIR --count N`: labelled images that look like cells in an electron microscope.

For a first try without data, for tests, and for pictures in the documentation. No substitute for real images.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.images.encoding import encode_png

CELL_DIAMETER = 56  # pixels, on average
MEMBRANE = 5  # pixels

CLASSES = ("background", "cell", "nucleus")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code (0, or 2 after one line on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m training.synthetic", description="Make labelled cell-like images.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write image/ and label/ into")
    parser.add_argument("--count", type=int, default=24, help="images (default: 24)")
    parser.add_argument("--size", type=int, default=512, help="side in pixels (default: 512)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--classes",
        type=int,
        choices=(1, 3),
        default=1,
        help="1: cells, 255, and membranes, 0 (the default); 3: background 0, cell 1, nucleus 2",
    )
    arguments = parser.parse_args(argv)
    if arguments.count < 1 or arguments.size < 32 or arguments.seed < 0:
        print("synthetic: --count must be at least 1, --size at least 32 and --seed at least 0", file=sys.stderr)
        return 2
    folders = [arguments.out / part for part in ("image", "label")]
    for folder in folders:
        if folder.exists():
            print(f"synthetic: {folder} is there already; nothing is overwritten", file=sys.stderr)
            return 2
    try:
        for folder in folders:
            folder.mkdir(parents=True)
        for index in tqdm(range(arguments.count), unit="image", disable=None):
            image, label = draw(arguments.size, np.random.default_rng([arguments.seed, index]), arguments.classes)
            (arguments.out / "image" / f"{index}.png").write_bytes(encode_png(image))
            (arguments.out / "label" / f"{index}.png").write_bytes(encode_png(label))
    except OSError as error:
        print(f"synthetic: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.count} images of {arguments.size} x {arguments.size} in {arguments.out}")
    if arguments.classes > 1:
        print(f"train on them with --classes {arguments.classes} --labels {' '.join(CLASSES)}")
    return 0


def draw(side: int, rng: np.random.Generator, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image, S x S uint8, and its label as it is stored: 0 and 255 of one class, or the places in `CLASSES`."""
    image, interior = cells(side, rng)
    if classes == 1:
        return image, interior.view(np.uint8) * np.uint8(255)
    nuclei = _cores(interior)
    opacity = 0.85 * cv2.GaussianBlur(nuclei.astype(np.float32), (0, 0), 1)
    return (image + opacity * (np.float32(250) - image)).astype(np.uint8), interior.view(np.uint8) + nuclei.view(
        np.uint8
    )


def _cores(interior: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """S x S bool: the middle of each cell that is wide enough."""
    count, regions = cv2.connectedComponents(interior.view(np.uint8), connectivity=4)
    bodies, deepest = np.asarray(regions, np.int32), np.zeros(count, np.float32)
    depth = cv2.distanceTransform(interior.view(np.uint8), cv2.DIST_L2, 5)
    np.maximum.at(deepest, bodies, depth)
    cores: NDArray[np.bool_] = interior & (depth > np.maximum(0.45 * deepest, 4)[bodies])
    return cores


def cells(side: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """An image, S x S uint8, and its label, S x S bool, True = cell interior, False = membrane."""
    label = ~_membranes(side, rng)
    # cell bodies differ in brightness, with organelles and a grain; membranes are dark
    _, bodies = cv2.connectedComponents(label.view(np.uint8), connectivity=4)
    brightness = rng.normal(165, 14, bodies.max() + 1)[bodies]
    organelles = (
        45 * (_smooth_noise(side, 5, rng) > 1.7) * (cv2.distanceTransform(label.view(np.uint8), cv2.DIST_L2, 3) > 8)
    )
    staining = rng.uniform(70, 105) + 18 * _smooth_noise(side, 20, rng)
    picture = np.where(label, brightness - organelles + 7 * _smooth_noise(side, 1.5, rng), staining)
    picture = (
        cv2.GaussianBlur(picture, (0, 0), 1.1) + 10 * _smooth_noise(side, 60, rng) + rng.normal(0, 9, (side, side))
    )
    return np.clip(picture, 0, 255).astype(np.uint8), label


def _membranes(side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """S x S bool: the borders of a Voronoi tessellation, bent, of uneven thickness."""
    margin = CELL_DIAMETER
    wide = side + 2 * margin
    seeds = np.ones((wide, wide), np.uint8)
    points = rng.integers(0, wide, (max(4, (wide // CELL_DIAMETER) ** 2), 2))
    seeds[points[:, 0], points[:, 1]] = 0
    _, nearest = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_PRECISE, labelType=cv2.DIST_LABEL_PIXEL
    )
    y, x = np.mgrid[:side, :side].astype(np.float32) + np.float32(margin)
    bend_x, bend_y = (np.float32(0.12 * CELL_DIAMETER) * _smooth_noise(side, 14, rng) for _ in range(2))
    bent = cv2.remap(nearest.astype(np.float32), x + bend_x, y + bend_y, cv2.INTER_NEAREST)
    edges = (cv2.morphologyEx(bent, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0).astype(np.uint8)
    distance = cv2.distanceTransform(1 - edges, cv2.DIST_L2, 5)
    thickness: NDArray[np.float32] = MEMBRANE / 2 * (1 + 0.25 * _smooth_noise(side, 25, rng))
    membranes: NDArray[np.bool_] = distance < np.maximum(thickness, 1.2)
    return membranes


def _smooth_noise(side: int, sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """S x S float32 of mean 0 and deviation 1, correlated over `sigma` pixels."""
    noise = cv2.GaussianBlur(
        rng.standard_normal((side, side), np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT
    )
    smooth: NDArray[np.float32] = (noise - noise.mean()) / max(float(noise.std()), 1e-6)
    return smooth


if __name__ == "__main__":
    sys.exit(main())
