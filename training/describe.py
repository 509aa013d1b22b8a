"""`python -m training.describe --weights W`: adds to weights what they are for, and what their images look like.

`training.run` writes the same into new weights. The tensors are not touched, so the masks stay the same.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from model.atomic_write import write_whole
from model.engines.graph_weights import GraphWeights, load_graph
from model.errors import UserError
from model.inputs.card import Example
from model.inputs.known_images import MOST, KnownImages
from model.inputs.preprocessing import Values
from model.segmenter import Segmenter
from model.weights_file import METADATA_KEY, Description, Weights, load_weights, save_weights
from training.data.card_options import CardOptions, add_card_options, to_card
from training.data.example import make_example
from training.data.folder import load_images
from training.data.image_reader import ImageReader, add_channel_option
from training.data.labels.label_options import frozen_values
from training.data_error import DataError


@dataclass(frozen=True, kw_only=True)
class DescribeOptions(CardOptions):
    """The options of `python -m training.describe`; `--help` explains them."""

    weights: tuple[Path, ...]
    data: tuple[Path, ...]
    example: Path | None
    channel: str


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0, or 2 after a message on stderr."""
    options = _parse(argv)
    try:
        for line in _describe(options):
            print(line)
    except (UserError, OSError) as error:
        print(f"describe: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str] | None) -> DescribeOptions:
    parser = argparse.ArgumentParser(
        prog="python -m training.describe", description="Add to weights what they are for. The masks stay the same."
    )
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        required=True,
        metavar="W",
        help="weights file (.safetensors), and graphs of it (.xml); all get the same description",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=(),
        metavar="DIR",
        help="images of the training: folders or ZIPs; labels do not matter",
    )
    parser.add_argument(
        "--example", type=Path, metavar="IMAGE", help="image to show with the net's mask (default: one of --data)"
    )
    add_channel_option(parser, "the channel of the weights' training, else 0, or the colours")
    add_card_options(parser)
    return DescribeOptions(**frozen_values(parser.parse_args(argv)))


def _describe(options: DescribeOptions) -> Iterator[str]:
    """Rewrites the files; yields a line for each. Raises UserError, OSError."""
    loaded = [(path, _load(path)) for path in options.weights]
    update = _update(options, *loaded[0])
    renamed = dict[str, str]()
    for path, weights in loaded:
        described = _with_origin(weights.description.model_copy(update=update), renamed)
        _write(path, weights, described)
        now = _load(path)
        renamed[weights.sha256] = now.sha256
        yield f"{path}: {weights.label} is {now.label} now"


def _load(path: Path) -> Weights | GraphWeights:
    """Raises DataError for a package, whose other files must fit its weights; WeightsError."""
    if path.suffix == ".zip":
        raise DataError(f"--weights {path}: a package cannot be changed; describe its weights file and export it again")
    return load_graph(path) if path.suffix == ".xml" else load_weights(path)


def _update(options: DescribeOptions, path: Path, weights: Weights | GraphWeights) -> dict[str, Any]:
    """Returns the fields of the description that the options change. Raises UserError, OSError."""
    reader = ImageReader.suited_to(weights.description, options.channel)
    images = [image for folder in options.data for image in load_images(folder, MOST, reader)]
    update: dict[str, Any] = {"card": to_card(options, reader.pixel_size(), weights.description.card)}
    if options.data:
        update["known_images"] = KnownImages.of(images, weights.description.preprocessing)
    shown = reader.read(options.example) if options.example else images[len(images) // 2 :]
    if shown:
        update["example"] = _example(path, shown[0])
    return update


def _example(path: Path, image: Values) -> Example | None:
    """The image with the net's own mask. Raises WeightsError, EngineError."""
    return make_example(image, Segmenter.load(path).mask(image))


def _with_origin(description: Description, renamed: Mapping[str, str]) -> Description:
    """Names the new sha256 of the weights that a graph was quantised from, if they have been rewritten."""
    quantised = description.provenance.get("quantised")
    if not isinstance(quantised, dict) or quantised.get("from") not in renamed:
        return description
    origin = {**quantised, "from": renamed[str(quantised["from"])]}
    return description.model_copy(update={"provenance": {**description.provenance, "quantised": origin}})


def _write(path: Path, weights: Weights | GraphWeights, description: Description) -> None:
    """Replaces the file whole or not at all. Raises DataError, OSError."""
    if isinstance(weights, Weights):
        save_weights(path, weights.tensors, description)
        return
    text = path.read_bytes().decode()
    value = escape(description.to_metadata()[METADATA_KEY], {'"': "&quot;"})
    entry = f'<{METADATA_KEY} value="{value}" />'
    changed, count = re.subn(rf"<{METADATA_KEY} value=\"[^\"]*\"\s*/>", lambda _: entry, text)
    if count != 1:
        raise DataError(f"--weights {path}: the graph has {count} descriptions; a graph of training.export has one")
    write_whole(path, changed.encode())


if __name__ == "__main__":
    sys.exit(main())
