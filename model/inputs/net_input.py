"""An image file as the input of a net: the channels and the range of values that the net takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.images.calibration import PixelSize
from model.images.channels import channel_titles, count_channels
from model.images.decoding import ImageFile
from model.images.tiff_axes import Plane, Stack
from model.inputs.novelty_notice import novelty_notice
from model.inputs.preprocessing import Values, bits_in_use, used_bits
from model.weights_file import Description


@dataclass(frozen=True)
class NetInput:
    """The pages of a file for a net.

    Attributes:
        pages: H x W or H x W x C each; uint8, uint16, or float32 in 0..1.
        bits: Bits in use of 16, of all pages together; see `Preprocessing.affine`.
        notices: What was chosen or changed, one sentence each.
        channel: The channel that was chosen of several; None if there are no others, or the net takes all.
        channels: The names of the channels that one is chosen of; none if there is no choice.
        places: The place of each page on the axes of the file; none if the pages are sections one after the other.
        pixel_size: None if the file does not say it.
        file_pages: For each page its number in the file, from 0, None if it is only part of a page; empty if both are
            counted alike.
        channel_pages: The title of each channel that the file has, and the channel's `file_pages`; none if there is one
            channel.
        file: The file, if its stored values will be measured.
    """

    pages: Sequence[Values]
    bits: int = 0
    notices: tuple[str, ...] = ()
    channel: int | None = None
    channels: tuple[str, ...] = ()
    places: Sequence[Plane] = ()
    pixel_size: PixelSize | None = None
    file_pages: Sequence[int | None] = ()
    channel_pages: Sequence[tuple[str, Sequence[int | None]]] = ()
    file: ImageFile | None = None


def read_input(file: ImageFile, description: Description, channel: str = "") -> NetInput:
    """Decodes all pages of a file.

    Args:
        file: The file.
        description: The net.
        channel: Number or name of the channel that a net of one channel gets; "" for the first one, or for all colours.

    Raises:
        ImageError: A part of the picture is missing.
        UnsupportedImage: A property of the file is not accepted.
        NoSuchChannel: The file does not have the channel.
    """
    together = description.channels_together
    decoded = file.decode(channel, together)
    bits = bits_in_use(used_bits(decoded.pages), file.header.significant_bits)
    chosen = _choice(file) if file.takes_first(channel, together) else []
    notices = (
        *chosen,
        *scaling_notices(description, decoded.value_range, bits),
        *novelty_notices(description, decoded.pages, bits),
    )
    if file.header.stack is None:
        return NetInput(decoded.pages, bits, notices, pixel_size=file.header.pixel_size)
    several = len(file.header.channels) not in (0, together)
    used = decoded.planes[0].c if several else None
    names = tuple(file.header.channels) if several else ()
    stack = file.header.stack
    numbers = _numbers(stack, decoded.planes)
    alike = numbers == list(range(len(numbers)))
    titles = enumerate(channel_titles(file.header.channels))
    return NetInput(
        decoded.pages,
        bits,
        notices,
        used,
        names,
        places=decoded.planes,
        pixel_size=stack.pixel_size,
        file_pages=() if alike else numbers,
        channel_pages=[(title, _numbers(stack, stack.planes_of(index))) for index, title in titles],
    )


def _numbers(stack: Stack, planes: Sequence[Plane]) -> list[int | None]:
    """The number of each plane's page in the file; None if other programs do not see the plane as a page."""
    found = [(stack.pages[plane.page], plane) for plane in planes]
    return [None if page.plane or plane.sample is not None else page.number for page, plane in found]


def _choice(file: ImageFile) -> list[str]:
    """The sentence about channels that are not used."""
    there_are = f"The image has {count_channels(file.header.channels)}."
    return [f"{there_are} Channel 0 was used; choose another by its number or name."]


def scaling_notices(description: Description, value_range: tuple[float, float] | None, bits: int) -> list[str]:
    """Returns a sentence about values that were scaled; none for a net of z-scored input, which is not affected.

    Args:
        description: The net.
        value_range: The lowest and highest value of pixels that became float32; None for all others.
        bits: Bits in use of 16; 16 for other pixels.
    """
    if description.preprocessing.is_relative:
        return []
    if value_range:
        low, high = value_range
        return [f"Pixel values from {low:g} to {high:g} were scaled to the full range of the net."]
    if bits < 16:
        return [f"Pixel values use {bits} of 16 bits, so 0 to {2**bits - 1} were scaled to the full range of the net."]
    return []


def novelty_notices(description: Description, pages: Sequence[Values], bits: int) -> list[str]:
    """Returns a sentence about pages that look unlike the images that the net was trained on; none if they do not."""
    if not description.known_images:
        return []
    notice = novelty_notice(description.name, description.known_images, description.preprocessing, pages, bits)
    return [notice] if notice else []
