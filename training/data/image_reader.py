"""Reading the images of a data folder: one channel of those that have several, as the service reads them."""

import argparse
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from model.images.channels import count_channels
from model.images.decoding import ImageFile
from model.inputs.preprocessing import Values, bits_in_use, used_bits

if TYPE_CHECKING:  # importing torch would delay messages about the data by seconds
    from model.weights_file import Description

# Lists of channel names in one note; images of one data set rarely have more.
_LISTS_SHOWN = 3

# Ratio of two pixel sizes that count as equal: programs round.
_SAME_SIZE = 1.01

# The entry of the weights' provenance with the channel that the training read.
RECORDED = "channel"


@dataclass(frozen=True, eq=False)
class ImageReader:
    """Reads image files, and counts those with channels that were not read.

    Attributes:
        channel: Number or name of the channel to read; "" for the first one, or for all colours.
        together: Number of channels that the net takes together; a file with just as many gives H x W x C.
        unread: Number of files whose first channel alone was read, by the names of all their channels.
        pixel_sizes: Number of files by the width and height of their pixels in micrometres; None if a file has no size.
    """

    channel: str = ""
    together: int = 1
    unread: Counter[tuple[str, ...]] = field(default_factory=Counter)
    pixel_sizes: Counter[tuple[float, float] | None] = field(default_factory=Counter)

    @classmethod
    def suited_to(cls, description: "Description", channel: str) -> "ImageReader":
        """Returns a reader for images of a net; `channel` "" stands for the channel that the net was trained on."""
        return cls(channel or recorded_channel(description), description.channels_together)

    def read(self, path: Path) -> list[Values]:
        """Returns all pages, H x W or H x W x C each. Raises ImageError, UnsupportedImage, NoSuchChannel, OSError."""
        return [page for page, _ in self.read_with_bits(path)]

    def read_with_bits(self, path: Path) -> list[tuple[Values, int]]:
        """Returns the pages of `read`, each with the bits in use of 16, which are those of the whole file."""
        file = ImageFile.read(path.read_bytes())
        pages = file.decode(self.channel, self.together).pages
        size = file.header.pixel_size
        self.pixel_sizes[(size.x, size.y) if size else None] += 1
        if file.takes_first(self.channel, self.together):
            self.unread[file.header.channels] += 1
        bits = bits_in_use(used_bits(pages), file.header.significant_bits)
        return [(page, bits) for page in pages]

    def pixel_size(self) -> float | None:
        """Returns the width of a pixel in micrometres; None if the files that were read differ, or do not state it."""
        sizes = {width for size in self.pixel_sizes for width in size or (math.nan,)}
        low, high = min(sizes, default=math.nan), max(sizes, default=math.nan)
        return float(f"{low:.4g}") if high <= low * _SAME_SIZE and not any(map(math.isnan, sizes)) else None

    def notes(self) -> list[str]:
        """Returns a line about channels that were not read; none if all were read, or one was chosen."""
        if not self.unread:
            return []
        kinds = self.unread.most_common(_LISTS_SHOWN)
        found = [f"{files} image{'s' if files > 1 else ''} with {count_channels(names)}" for names, files in kinds]
        more = [f"{len(self.unread) - len(kinds)} other kinds"] if len(self.unread) > len(kinds) else []
        return [f"channels: {'; '.join([*found, *more])}; channel 0 is read, --channel N|NAME reads another"]


def recorded_channel(description: "Description") -> str:
    """Returns the channel that the training of the weights read; "" if it chose none."""
    return str(description.provenance.get(RECORDED, ""))


def add_channel_option(parser: argparse._ActionsContainer, default: str) -> None:
    """Adds `--channel` to a parser; `default` describes what is read without the option."""
    parser.add_argument(
        "--channel",
        default="",
        metavar="N|NAME",
        help=f"channel to read of images that have several, or red, green, blue (default: {default})",
    )
