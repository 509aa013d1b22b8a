"""The choice of one channel of an image that has several."""

from collections.abc import Sequence

from model.images.image_errors import ImageError

COLOURS = ("red", "green", "blue")

_LONGEST_TITLE = 40


class NoSuchChannel(ImageError):
    """The image has no channel of that name or number."""


def find_channel(wanted: str, names: Sequence[str]) -> int:
    """Returns the index of the channel with this number or name, in upper or lower case. Raises NoSuchChannel.

    A number from 0 to N - 1 is always an index, because notices and other programs count channels so.
    """
    if wanted.isascii() and wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    folded = [name.casefold() for name in names]
    if wanted.casefold() in folded:
        return folded.index(wanted.casefold())
    there_are = f"Its channels are {list_channels(names)}" if len(names) > 1 else "It has one channel, 0"
    raise NoSuchChannel(f"The image has no channel {wanted[:40]!r}. {there_are}.")


def channel_titles(names: Sequence[str]) -> list[str]:
    """Returns printable, short names of channels for the columns of tables; numbers where they would be equal."""
    titles = ["".join(sign if sign.isprintable() else "_" for sign in name)[:_LONGEST_TITLE] for name in names]
    while len(set(titles)) < len(titles):  # a number may be the name of another channel
        titles = [title if titles.count(title) == 1 else str(index) for index, title in enumerate(titles)]
    return titles


def count_channels(names: Sequence[str]) -> str:
    """Returns the number of channels with their names for a message: "2 channels: 0 (DAPI), 1 (GFP)"."""
    return f"{len(names)} channels: {list_channels(names)}"


def list_channels(names: Sequence[str]) -> str:
    """Returns numbers and names of channels for a message: "0 (DAPI), 1 (GFP)"."""
    shown = [f"{index} ({name[:40]})" if name != str(index) else name for index, name in enumerate(names[:20])]
    return ", ".join([*shown, *(["..."] if len(names) > 20 else [])])
