"""Options for the texts of a model card, shared by the commands that write weights."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from training.data_error import DataError

if TYPE_CHECKING:  # importing OpenCV would delay messages about the command line
    from model.inputs.card import Card

# Names of the texts of a card.
TEXTS = "segments", "modality", "not_for"


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """The values of the options that `add_card_options` adds, see `Card`; "" and None if an option is not given."""

    segments: str
    modality: str
    pixel_size: float | None
    not_for: str


def add_card_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `to_card` to a parser."""
    card = parser.add_argument_group("model card", "what the net is for, as the service shows it to people")
    card.add_argument("--segments", metavar="TEXT", default="", help='one sentence: "Nuclei in fluorescence images."')
    card.add_argument("--modality", metavar="TEXT", default="", help='for example "fluorescence microscopy"')
    card.add_argument(
        "--pixel-size",
        metavar="UM",
        type=float,
        help="width of a pixel in micrometres (default: that of the image files, if all agree)",
    )
    card.add_argument("--not-for", metavar="TEXT", default="", help="one sentence: what the net does not work for")


def to_card(options: CardOptions, found: float | None, former: "Card | None") -> "Card | None":
    """Makes a card of the options.

    Args:
        options: Options that are not given keep what the former card says.
        found: Width of a pixel in the image files, micrometres.
        former: The card before, if any.

    Returns:
        None if nothing is known.

    Raises:
        DataError: A text or the size is not accepted.
    """
    from model.inputs.card import Card

    given = {name: getattr(options, name) for name in TEXTS}
    known = {**(former.model_dump() if former else {}), **{name: text for name, text in given.items() if text}}
    if (size := found if options.pixel_size is None else options.pixel_size) is not None:
        known["pixel_size_um"] = size
    try:
        return Card.model_validate(known) if known else None
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).removesuffix("_um").replace("_", "-")
        raise DataError(f"{option} {first['input']!r}: {first['msg']}") from error
