"""`python -m training.export --weights W --to openvino --out PATH`: a trained net for other programs, or in 8 bits."""

import argparse
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from model.engines.engine import Array, EngineError
from model.segmenter import ImageTask, to_mask
from model.weights_file import BUNDLED, METADATA_KEY, Weights, WeightsError, load_weights
from training.data import DataError, load_images

if TYPE_CHECKING:
    import openvino

# Windows of this side are what the ranges of the activations are found on; so many of them, from all over the images.
WINDOW, WINDOWS = 512, 48


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code (0, or 2 after a message on stderr)."""
    arguments = _parse(argv)
    try:
        weights = load_weights(arguments.weights)
        if arguments.precision == "int8":
            print(export_int8(weights, arguments.calibrate, graph_path(arguments.out, weights)))
        else:
            export_openvino(weights, graph_path(arguments.out, weights))
    except (DataError, WeightsError, EngineError, ValueError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.export", description="Export a trained net.")
    parser.add_argument("--weights", type=Path, default=BUNDLED, help="default: the bundled ones")
    parser.add_argument("--to", choices=["openvino"], required=True)
    parser.add_argument(
        "--out", metavar="PATH", type=Path, required=True, help="an .xml file, or a folder to put it in"
    )
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    parser.add_argument(
        "--calibrate",
        metavar="DIR",
        type=Path,
        help="images like those to be segmented, for int8; labels do not matter",
    )
    arguments = parser.parse_args(argv)
    if (arguments.precision == "int8") != bool(arguments.calibrate):
        parser.error("--precision int8 and --calibrate DIR go together")
    return arguments


def graph_path(out: Path, weights: Weights) -> Path:
    """Where the .xml goes; the .bin will lie beside it. Raises ValueError for a name of another kind."""
    if out.suffix == ".xml":
        return out
    if out.suffix and not out.is_dir():
        raise ValueError(f"--out {out}: an OpenVINO graph is an .xml file (with a .bin beside it), or goes to a folder")
    return out / f"{weights.description.name}.xml"


def export_openvino(weights: Weights, path: Path) -> None:
    """N x C x H x W float32, preprocessed and H and W multiples of the net's grid -> N x K x H x W probabilities."""
    from model.engines.openvino import to_graph

    _save(to_graph(weights.build_net()), weights, path, {})


def export_int8(weights: Weights, folder: Path, path: Path) -> str:
    """Quantises by NNCF's post-training quantisation, on images of a folder; says how much it changed.

    Raises DataError, WeightsError, ValueError, OSError.
    """
    windows = calibration_windows(weights, folder)
    import nncf

    from model.engines.openvino import OpenVinoEngine, to_graph

    nncf.set_log_level(logging.ERROR)
    graph = to_graph(weights.build_net())
    # In a thread that ends with it: NNCF makes Cores, and what they do to signals (see `model.engines.openvino`) stays
    # with their thread. Mixed: activations that may be negative, those of the image, get ranges that are not symmetric.
    with ThreadPoolExecutor(max_workers=1) as thread:
        quantised = thread.submit(
            nncf.quantize,
            graph,
            nncf.Dataset(windows),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(windows),
        ).result()
    versions = {name: metadata.version(name) for name in ("nncf", "openvino")}
    made: dict[str, JsonValue] = {"from": weights.sha256, "windows": len(windows), **versions}
    _save(quantised, weights, path, {"quantised": made})
    engines = OpenVinoEngine(graph, "fp32"), OpenVinoEngine(quantised, "int8")
    changed = [_changed(weights.description.threshold, *(engine.run(one) for engine in engines)) for one in windows]
    return f"{path}: int8 decides {np.mean(changed):.2%} of the pixels otherwise than fp32, {max(changed):.2%} at worst"


def calibration_windows(weights: Weights, folder: Path) -> list[Array]:
    """1 x C x H x W, preprocessed: windows from all over the folder's images. Raises DataError, ValueError."""
    tasks = [ImageTask(pixels, weights.description, WINDOW) for pixels in load_images(folder, WINDOWS)]
    places = [(task, tile) for task in tasks for tile in task.tiles]
    chosen = np.linspace(0, len(places) - 1, min(WINDOWS, len(places))).round().astype(int)
    return [places[index][0].cut(places[index][1])[None] for index in chosen]


def _changed(threshold: float, one: Array, other: Array) -> float:
    """The share of an image's pixels that two engines decide differently."""
    return float((to_mask(one[0], threshold) != to_mask(other[0], threshold)).mean())


def _save(graph: "openvino.Model", weights: Weights, path: Path, provenance: dict[str, JsonValue]) -> None:
    """Both files or none, the .xml last; the description goes into the .xml."""
    import openvino

    description = weights.description
    described = description.model_copy(update={"provenance": description.provenance | provenance})
    graph.set_rt_info(described.to_metadata()[METADATA_KEY], METADATA_KEY)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.xml")
    try:
        openvino.save_model(graph, unfinished, compress_to_fp16=False)
        unfinished.with_suffix(".bin").replace(path.with_suffix(".bin"))
        unfinished.replace(path)
    finally:
        for file in (unfinished, unfinished.with_suffix(".bin")):
            file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
